# SPDX-License-Identifier: Apache-2.0
"""The Pulser engine: an embedded QPU of neutral atoms, and the emulators behind Pulser's device types.

Nothing here imports Pulser: the command line lists engines in a fraction of the time that takes.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from qrmi_core import (
    EngineResource,
    InputError,
    JobContext,
    LimitExceeded,
    Payload,
    PulserBatch,
    PulserJob,
    ResourceStatus,
    ResourceStatusCode,
    ResourceUnavailable,
    Target,
    Variable,
)
from qrmi_pulser.device_json import BUILT_IN, DEFAULT, DEVICE, device_json, is_file, unknown_device
from qrmi_pulser.emulators import emulator

__all__ = ["PulserSimulator"]

FRESNEL = "FRESNEL"
"""The device type of Pasqal's QPU."""

_AMPLITUDE = 16


class PulserSimulator(EngineResource):
    """A Pulser device, emulated by pulser-simulation (qutip).

    Programs for a QPU (no device type) run on the device that ``QRMI_PULSER_DEVICE`` names, with its noise if it has
    any, and give bitstrings. Pulses act as programmed, not as a modulator of limited bandwidth would shape them. What
    that device lacks is refused: AnalogDevice, the default, has one global Rydberg channel with an EOM, so no XY, no
    local or digital channels, no detuning map and no SLM mask.

    Programs for an emulator (``EMU_FREE``; ``EMU_SV`` and ``EMU_MPS`` where emu-sv and emu-mps are installed) may use
    any device, virtual ones too, and give every observable.
    """

    type = "pulser-simulator"
    takes = (PulserBatch,)
    worker: ClassVar[str] = "qrmi_pulser.worker"
    requires: ClassVar[Sequence[str]] = ("pulser", "pulser_simulation")
    extra: ClassVar[str] = "pulser"
    variables: ClassVar[Sequence[Variable]] = (
        Variable(
            DEVICE, f"the device it stands for: {', '.join(BUILT_IN)} or a device's JSON file (default {DEFAULT})"
        ),
        *EngineResource.variables,
    )

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {"pulser_analog": {DEVICE: DEFAULT}}

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        settings = dict(values)
        if is_file(device := settings.get(DEVICE, "")):
            # The worker runs in another directory.
            settings[DEVICE] = str(Path(device).expanduser().absolute())
        elif (device or DEFAULT) not in BUILT_IN:
            raise ResourceUnavailable(unknown_device(name, device), resource=name)
        return cls(name, settings, context)

    def imitates(self) -> tuple[str, ...]:
        device = self.settings.get(DEVICE) or DEFAULT
        if is_file(device):
            try:
                device = str(self.target().json()["name"])
            except ResourceUnavailable:
                return (FRESNEL,)
        return (FRESNEL, device)

    def status(self) -> ResourceStatus:
        """Like any engine's; offline also where the device's file cannot be used."""
        status = super().status()
        if status.status is ResourceStatusCode.ONLINE and is_file(self.settings.get(DEVICE, "")):
            try:
                self.target()
            except ResourceUnavailable as error:
                return ResourceStatus(ResourceStatusCode.OFFLINE, status_reason=str(error), healthy=False)
        return status

    def target(self) -> Target:
        """The abstract representation of the device, as JSON."""
        self._require_packages()
        with contextlib.suppress(ResourceUnavailable):  # a device can be told without a spool, only more slowly
            self._spool.prepare()
        return Target(device_json(self.settings, self.name, kept=self._spool.root / "devices"))

    def metadata(self) -> dict[str, str]:
        return {"device": self.settings.get(DEVICE) or DEFAULT, "simulator": "true"}

    def check(self, payload: Payload) -> None:
        self.refuse_other_kinds(payload)
        self._check_batch(cast("PulserBatch", payload))

    def _check_batch(self, payload: PulserBatch) -> None:
        if payload.device_type is not None:
            emulator(payload.device_type, self.name)
        elif payload.configuration is not None:
            raise InputError(
                f"{self.name}: an emulation configuration was given without a device type; a QPU takes none "
                f"(use RemoteEmuFreeBackend of pasqal_cloud, or leave it out)",
                resource=self.name,
            )
        sequence = _json_object("the sequence", payload.sequence, self.limits.decompressed)
        if payload.configuration is not None:
            _json_object("the emulation configuration", payload.configuration, self.limits.decompressed)
        self._check_jobs(payload.jobs, needs_runs=payload.device_type is None)
        self._check_atoms(sequence, payload)

    def batch_add(self, batch_id: str, jobs: Sequence[PulserJob]) -> tuple[str, ...]:
        self._check_jobs(jobs, needs_runs=False)
        return super().batch_add(batch_id, jobs)

    def _check_jobs(self, jobs: Sequence[PulserJob], *, needs_runs: bool) -> None:
        for number, job in enumerate(jobs, 1):
            if job.variables is not None:
                _json_object(f"the variables of job {number}", job.variables, self.limits.decompressed)
            if job.runs is None:
                if needs_runs:
                    raise InputError(f"job {number}: a QPU needs the number of shots, give it `runs`")
            elif job.runs < 1:
                raise InputError(f"job {number}: runs is {job.runs}, at least 1 was expected")
            elif job.runs > self.limits.shots:
                raise LimitExceeded(
                    f"job {number}: {job.runs} runs were asked for and {self.name} takes {self.limits.shots} at most "
                    f"(QRMI_ENGINE_MAX_SHOTS)",
                    resource=self.name,
                )

    def _check_atoms(self, sequence: Mapping[str, Any], payload: PulserBatch) -> None:
        """Refuse what is hopeless already here; the worker, which builds the sequence, estimates more closely."""
        for atoms in _atoms_of_jobs(sequence, payload.jobs):
            if atoms > self.limits.qubits:
                raise LimitExceeded(
                    f"the sequence has {atoms} atoms and {self.name} takes {self.limits.qubits} at most "
                    f"(QRMI_ENGINE_MAX_QUBITS)",
                    resource=self.name,
                )
            if payload.device_type != "EMU_MPS" and atoms > math.log2(self.limits.memory / _AMPLITUDE):
                raise LimitExceeded(
                    f"the state of {atoms} atoms has 2^{atoms} amplitudes of {_AMPLITUDE} bytes, "
                    f"{_AMPLITUDE * 2.0**atoms / 2**30:.3g} GB, and a task on {self.name} may use "
                    f"{self.limits.memory / 2**30:.3g} GB: use fewer atoms, EMU_MPS (RemoteMPSBackend), or raise "
                    f"QRMI_ENGINE_MEMORY_MB",
                    resource=self.name,
                )


def _atoms_of_jobs(sequence: Mapping[str, Any], jobs: Sequence[PulserJob]) -> Iterator[int]:
    """How many atoms each job uses: those of the register, or those that its variables place on a layout."""
    register = sequence.get("register")
    if isinstance(register, list) and all(isinstance(atom, dict) and "x" in atom for atom in register):
        yield len(register)
        return
    for job in jobs:
        placed = json.loads(job.variables).get("qubits") if job.variables else None
        yield len(placed) if isinstance(placed, dict) else 0


def _json_object(what: str, data: bytes, limit: int) -> dict[str, Any]:
    if len(data) > limit:
        raise LimitExceeded(f"{what} has {len(data)} bytes and {limit} are allowed (QRMI_ENGINE_MAX_INPUT_MB)")
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        raise InputError(f"{what} is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except (UnicodeDecodeError, RecursionError):
        raise InputError(f"{what} is not JSON that can be read: UTF-8, not deeply nested, was expected") from None
    if not isinstance(value, dict):
        raise InputError(f"{what} is a JSON {type(value).__name__}, an object was expected")
    return value
