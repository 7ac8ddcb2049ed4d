# SPDX-License-Identifier: Apache-2.0
"""The engine ``felis-simulator``: runs Alice & Bob's QIR programs without noise."""

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
    Limits,
    Payload,
    ResourceUnavailable,
    Target,
    Variable,
)
from qrmi_qiskit.aer.device import METHOD, METHODS
from qrmi_qiskit.felis.inputs import shots_of
from qrmi_qiskit.felis.instructions import MOST_SHOTS, QUBITS, description

__all__ = ["FelisSimulator", "described"]


def described(limits: Limits) -> dict[str, Any]:
    """The target of an engine with these limits."""
    return description(min(QUBITS, limits.qubits), min(MOST_SHOTS, limits.shots))


class FelisSimulator(EngineResource):
    """Runs QIR text on qiskit-aer and gives the outcomes as Felis does: a line ``bits,count`` for each.

    Its name in the list of targets ends in IDEAL: it has the gates of a universal computer, all qubits are connected,
    and none of the errors that cat qubits have is simulated.
    """

    type = "felis-simulator"
    takes = (AliceBobFelis,)
    worker = "qrmi_qiskit.felis.worker"
    requires = ("qiskit", "qiskit_aer")
    extra = "qiskit"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(METHOD, f"Aer's simulation method: {', '.join(METHODS)} (default automatic)"),
        *EngineResource.variables,
    )

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, settings, context)
        self.method = settings.get(METHOD) or METHODS[0]

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        resource = cls(name, values, context)
        if resource.method not in METHODS:
            raise ResourceUnavailable(
                f"{name}: {METHOD} is {resource.method!r}; Aer has {', '.join(METHODS)}", resource=name
            )
        return resource

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {"felis_ideal": {}}

    def target(self) -> Target:
        return Target(json.dumps(described(self.limits)).encode())

    def metadata(self) -> dict[str, str]:
        name = described(self.limits)["name"]
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
            shots_of(job.input_params, described(self.limits)["inputParams"])
        except InputError as error:
            error.resource = self.name
            raise
