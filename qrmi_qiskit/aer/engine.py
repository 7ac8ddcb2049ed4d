# SPDX-License-Identifier: Apache-2.0
"""The engine ``aer-simulator``: an ideal simulator, or a real device's snapshot with its noise."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from qrmi_core import (
    EngineResource,
    InputError,
    JobContext,
    LimitExceeded,
    Payload,
    QiskitPrimitive,
    ResourceUnavailable,
    Target,
    UnsupportedPayload,
    Variable,
)
from qrmi_qiskit.aer.device import IDEAL, METHOD, METHODS, NOISE, SNAPSHOT, target_json
from qrmi_qiskit.aer.snapshots import snapshot_device, snapshot_names

__all__ = ["MAX_PUBS", "AerSimulator"]

MAX_PUBS = 10_000
_PREFIX = "aer_"
_EXTRA = "qiskit"
_INSTALL = f"pip install 'qrmi-providers[{_EXTRA}]'"
_PROGRAMS = ("sampler", "estimator", "executor")
_KEYS = frozenset({"options", "precision", "pubs", "resilience_level", "shots", "support_qiskit", "version"})


class AerSimulator(EngineResource):
    """Runs IBM's sampler, estimator and executor on qiskit-aer, with the noise of the qubits that a circuit uses."""

    type = "aer-simulator"
    takes = (QiskitPrimitive,)
    worker = "qrmi_qiskit.aer.worker"
    requires = ("qiskit", "qiskit_aer")
    extra = _EXTRA
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable(SNAPSHOT, f"the snapshot to simulate, such as fez, or {IDEAL}", required=True),
        Variable(METHOD, f"Aer's simulation method: {', '.join(METHODS)} (default automatic)"),
        Variable(NOISE, "on (default) or off: a snapshot's gates and coupling map with or without its errors"),
        *EngineResource.variables,
    )

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, settings, context)
        self.snapshot = settings.get(SNAPSHOT) or IDEAL
        self.method = settings.get(METHOD) or METHODS[0]

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        resource = cls(name, values, context)
        if resource.snapshot != IDEAL and resource.snapshot not in snapshot_names():
            raise ResourceUnavailable(f"{name}: {_unknown_snapshot(resource.snapshot)}", resource=name)
        if resource.method not in METHODS:
            raise ResourceUnavailable(
                f"{name}: {METHOD} is {resource.method!r}; Aer has {', '.join(METHODS)}", resource=name
            )
        if values.get(NOISE, "on") not in {"on", "off"}:
            raise ResourceUnavailable(f"{name}: {NOISE} is {values[NOISE]!r}; on or off was expected", resource=name)
        return resource

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {_PREFIX + snapshot: {SNAPSHOT: snapshot} for snapshot in (IDEAL, *snapshot_names())}

    @classmethod
    def lacking(cls) -> Mapping[str, str]:
        if snapshot_names():
            return {}
        return {_PREFIX: f"simulators of IBM's devices need qiskit-ibm-runtime: {_INSTALL}"}

    def imitates(self) -> tuple[str, ...]:
        return () if self.snapshot == IDEAL else (snapshot_device(self.snapshot),)

    def target(self) -> Target:
        return self._target

    @functools.cached_property
    def _target(self) -> Target:
        return Target(target_json(self.name, self.snapshot, self.limits))

    def metadata(self) -> dict[str, str]:
        return {"backend_name": self.name, "snapshot": self.snapshot, "method": self.method}

    def check(self, payload: Payload) -> None:
        self.refuse_other_kinds(payload)
        self._check_primitive(cast("QiskitPrimitive", payload))

    def _check_primitive(self, payload: QiskitPrimitive) -> None:
        if payload.program_id not in _PROGRAMS:
            raise UnsupportedPayload(
                f"{self.name} runs the programs {', '.join(_PROGRAMS)}, not {payload.program_id!r}",
                resource=self.name,
            )
        size, most = len(payload.parameters), self.limits.decompressed
        if size > most:
            raise LimitExceeded(
                f"the payload has {size} bytes and {self.name} takes {most}: send fewer pubs, "
                f"or raise QRMI_ENGINE_MAX_INPUT_MB",
                resource=self.name,
            )
        parameters = _parsed(payload.parameters, self.name)
        if payload.program_id == "executor":
            self._check_program(parameters)
        else:
            self._check_parameters(parameters)

    def _check_program(self, parameters: Mapping[str, Any]) -> None:
        program = parameters.get("quantum_program")
        items = program.get("items") if isinstance(program, dict) else None
        if not isinstance(items, list):
            raise InputError('the parameters have no "quantum_program" with a list of items', resource=self.name)
        if len(items) > MAX_PUBS:
            raise LimitExceeded(f"{len(items)} items, and {self.name} takes {MAX_PUBS} in a task", resource=self.name)

    def _check_parameters(self, parameters: Mapping[str, Any]) -> None:
        if unknown := sorted(parameters.keys() - _KEYS):
            raise InputError(
                f"the parameters have unknown keys: {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}",
                resource=self.name,
            )
        pubs = parameters.get("pubs")
        if not isinstance(pubs, list) or not pubs:
            raise InputError('the parameters have no "pubs": a list of at least one pub was expected')
        if len(pubs) > MAX_PUBS:
            raise LimitExceeded(f"{len(pubs)} pubs, and {self.name} takes {MAX_PUBS} in a task", resource=self.name)
        if not isinstance(parameters.get("options", {}), dict):
            raise InputError('"options" is not an object', resource=self.name)
        if parameters.get("version", 2) != 2:
            raise UnsupportedPayload(
                f"{self.name} runs version 2 of the primitives, not {parameters['version']!r}", resource=self.name
            )
        if parameters.get("support_qiskit", True) is not True:
            raise UnsupportedPayload(f'{self.name} needs "support_qiskit": true', resource=self.name)


def _parsed(parameters: bytes, name: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(parameters)
    except json.JSONDecodeError as error:
        raise InputError(
            f"the parameters are not JSON: line {error.lineno}, column {error.colno}: {error.msg}", resource=name
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the parameters are not JSON: {error}", resource=name) from error
    if not isinstance(parsed, dict):
        raise InputError("the parameters are not a JSON object", resource=name)
    return parsed


def _unknown_snapshot(snapshot: str) -> str:
    names = snapshot_names()
    if not names:
        return (
            f"{SNAPSHOT} is {snapshot!r}, and there are no snapshots: qiskit-ibm-runtime brings them, "
            f"{_INSTALL} (only {IDEAL} works without)"
        )
    near = difflib.get_close_matches(snapshot, (IDEAL, *names), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the first are {', '.join(names[:5])}"
    return f"{SNAPSHOT} is {snapshot!r}, which is none of the {len(names)} snapshots nor {IDEAL}: {hint}"
