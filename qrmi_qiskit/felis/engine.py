# SPDX-License-Identifier: Apache-2.0
"""The engine ``felis-simulator``: runs Alice & Bob's QIR programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from qrmi_core import (
    AliceBobFelis,
    EngineResource,
    InputError,
    JobContext,
    LimitExceeded,
    Payload,
    ResourceUnavailable,
    Target,
    Variable,
)
from qrmi_qiskit.aer.device import METHOD, METHODS
from qrmi_qiskit.felis.inputs import checked_parameters
from qrmi_qiskit.felis.models import CATS_MODEL, IDEAL_MODEL, MODEL, MODELS

__all__ = ["FelisSimulator"]


class FelisSimulator(EngineResource):
    """Runs QIR text on qiskit-aer and gives the outcomes as Felis does: a line ``bits,count`` for each.

    The names of its targets say what they are: IDEAL has the gates of a universal computer and no noise, NOISY_CATS a
    cat qubit's own gates and simple errors. Neither is one of the vendor's emulators.
    """

    type = "felis-simulator"
    takes = (AliceBobFelis,)
    worker = "qrmi_qiskit.felis.worker"
    requires = ("qiskit", "qiskit_aer")
    extra = "qiskit"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(MODEL, f"what is simulated: {' or '.join(MODELS)} (default {IDEAL_MODEL})"),
        Variable(METHOD, f"Aer's simulation method: {', '.join(METHODS)} (default automatic)"),
        *EngineResource.variables,
    )

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, settings, context)
        self.method = settings.get(METHOD) or METHODS[0]
        self.model = settings.get(MODEL) or IDEAL_MODEL

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        resource = cls(name, values, context)
        if resource.method not in METHODS:
            raise ResourceUnavailable(
                f"{name}: {METHOD} is {resource.method!r}; Aer has {', '.join(METHODS)}", resource=name
            )
        if resource.model not in MODELS:
            raise ResourceUnavailable(
                f"{name}: {MODEL} is {resource.model!r}; there are {', '.join(MODELS)}", resource=name
            )
        return resource

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {f"felis_{model}": {MODEL: model} for model in (IDEAL_MODEL, CATS_MODEL)}

    def target(self) -> Target:
        return Target(json.dumps(self._described).encode())

    def metadata(self) -> dict[str, str]:
        name = self._described["name"]
        return {"backend_name": name, "felis_target": name, "method": self.method}

    def check(self, payload: Payload) -> None:
        self.refuse_other_kinds(payload)
        job = cast("AliceBobFelis", payload)
        size, most = len(job.human_qir), self.limits.decompressed
        if size > most:
            raise LimitExceeded(
                f"the program has {size} bytes and {self.name} takes {most}: send a shorter one, "
                f"or raise QRMI_ENGINE_MAX_INPUT_MB",
                resource=self.name,
            )
        try:
            checked_parameters(job.input_params, self._described["inputParams"])
        except InputError as error:
            error.resource = self.name
            raise

    @property
    def _described(self) -> dict[str, Any]:
        return MODELS[self.model].described(self.limits)
