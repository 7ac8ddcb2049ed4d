# SPDX-License-Identifier: Apache-2.0
"""The engine ``iqm-simulator``: an ideal device with IQM's native operations on a rectangular lattice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from qrmi_core import (
    EngineResource,
    InputError,
    IQMServer,
    JobContext,
    LimitExceeded,
    Payload,
    ResourceUnavailable,
    Target,
    UnsupportedPayload,
    Variable,
)
from qrmi_qiskit.aer.device import METHOD, METHODS
from qrmi_qiskit.iqm.lattice import LATTICE, Lattice

__all__ = ["MAX_CIRCUITS", "IQMSimulator"]

MAX_CIRCUITS = 10_000

_INVALID = "invalid_job_payload"
"""The word of IQM's servers for a body that is none."""


class IQMSimulator(EngineResource):
    """Runs the circuit jobs of IQM's servers on qiskit-aer, without noise."""

    type = "iqm-simulator"
    takes = (IQMServer,)
    worker = "qrmi_qiskit.iqm.worker"
    requires = ("qiskit", "qiskit_aer")
    extra = "qiskit"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(LATTICE, "the qubits, as ROWSxCOLUMNS", required=True),
        Variable(METHOD, f"Aer's simulation method: {', '.join(METHODS)} (default automatic)"),
        *EngineResource.variables,
    )

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, settings, context)
        try:
            self.lattice = Lattice.parse(settings.get(LATTICE, ""))
        except ValueError as error:
            raise ResourceUnavailable(f"{name}: {LATTICE}: {error}", resource=name) from None
        self.method = settings.get(METHOD) or METHODS[0]
        if self.method not in METHODS:
            raise ResourceUnavailable(
                f"{name}: {METHOD} is {self.method!r}; Aer has {', '.join(METHODS)}", resource=name
            )

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        return cls(name, values, context)

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {"iqm_crystal": {LATTICE: "4x5"}}

    def target(self) -> Target:
        return Target(self.lattice.target(self.name))

    def metadata(self) -> dict[str, str]:
        return {"backend_name": self.name, "lattice": self.settings[LATTICE], "method": self.method}

    def check(self, payload: Payload) -> None:
        self.refuse_other_kinds(payload)
        job = cast("IQMServer", payload)
        if job.job_type != "circuit":
            raise UnsupportedPayload(
                f"{self.name} runs jobs of the type circuit, not {job.job_type!r}, whose pulses nothing here simulates",
                resource=self.name,
                code="unsupported_job_type",
            )
        if job.use_timeslot:
            raise UnsupportedPayload(
                f"{self.name} has no timeslots: submit without use_timeslot",
                resource=self.name,
                code="no_booked_timeslots",
            )
        size, most = len(job.iqmjson), self.limits.decompressed
        if size > most:
            raise LimitExceeded(
                f"the job has {size} bytes and {self.name} takes {most}: send fewer circuits, "
                f"or raise QRMI_ENGINE_MAX_INPUT_MB",
                resource=self.name,
                code="request_payload_too_large",
            )
        self._check_job(self._parsed(job.iqmjson))

    def _parsed(self, body: bytes) -> Mapping[str, Any]:
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the job is not JSON: {error}", resource=self.name, code=_INVALID) from error
        if not isinstance(parsed, dict):
            raise InputError("the job is not a JSON object", resource=self.name, code=_INVALID)
        return parsed

    def _check_job(self, job: Mapping[str, Any]) -> None:
        circuits = job.get("circuits")
        if not isinstance(circuits, list) or not circuits:
            raise InputError(
                'the job has no "circuits": a list of at least one was expected', resource=self.name, code=_INVALID
            )
        if len(circuits) > MAX_CIRCUITS:
            raise LimitExceeded(
                f"{len(circuits)} circuits, and {self.name} takes {MAX_CIRCUITS} in a job",
                resource=self.name,
                code=_INVALID,
            )
        shots = job.get("shots", 1)
        if not isinstance(shots, int) or isinstance(shots, bool) or shots < 1:
            raise InputError(
                f'"shots" is {shots!r}: a whole number of at least 1 was expected', resource=self.name, code=_INVALID
            )
        if shots > self.limits.shots:
            raise LimitExceeded(
                f"{shots} shots and {self.name} allows {self.limits.shots}: ask for fewer, "
                f"or raise QRMI_ENGINE_MAX_SHOTS",
                resource=self.name,
                code=_INVALID,
            )
