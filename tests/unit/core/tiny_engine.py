# SPDX-License-Identifier: Apache-2.0
"""A real engine with a trivial device, so that tests of the machinery need no simulator."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping

from qrmi_core import (
    EngineResource,
    InputError,
    JobContext,
    Payload,
    PulserBatch,
    QiskitPrimitive,
    Target,
    Work,
)


def run(work: Work) -> bytes:
    """Obey the payload's one instruction."""
    if isinstance(work.payload, PulserBatch):
        instruction = json.loads(work.payload.sequence)
        if work.job is not None and work.job.variables:
            instruction |= json.loads(work.job.variables)
    elif isinstance(work.payload, QiskitPrimitive):
        instruction = json.loads(work.payload.parameters)
    else:
        raise TypeError(work.payload)
    match instruction:
        case {"sleep": seconds}:
            time.sleep(seconds)
        case {"fail": text}:
            raise InputError(text, code="17")
        case {"crash": text}:
            raise RuntimeError(text)
        case {"exit": code}:
            os._exit(code)
        case {"allocate": size}:
            bytearray(size)
        case {"print": text}:
            print(text)  # noqa: T201
            print(text, file=sys.stderr)  # noqa: T201
    return json.dumps(
        {"pid": os.getpid(), "seed": work.seed, "runs": work.job and work.job.runs, **instruction}
    ).encode()


class TinyEngine(EngineResource):
    """Takes any JSON; its worker module is this file."""

    type = "tiny-simulator"
    worker = "tiny_engine"
    requires = ("json",)
    takes = (QiskitPrimitive, PulserBatch)
    extra = "tiny"

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        return {"tiny": {}}

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> TinyEngine:
        return cls(name, values, context)

    def target(self) -> Target:
        return Target(b'{"configuration": {"n_qubits": 2, "simulator": true}}')

    def check(self, payload: Payload) -> None:
        pass


class BrokenEngine(TinyEngine):
    """Its worker cannot be imported."""

    type = "broken-simulator"
    worker = "no_such_module_anywhere"


class SlowEngine(TinyEngine):
    """Its worker takes a minute to import."""

    type = "slow-simulator"
    worker = "slow_import"


class Device(TinyEngine):
    """A tiny engine whose name says what its target is like: ``device_<qubits>``."""

    type = "device"

    def target(self) -> Target:
        qubits = int(self.name.rpartition("_")[2])
        gates = [
            {"gate": "cz", "qubits": [0, 1], "parameters": [{"name": "gate_error", "value": error / qubits}]}
            for error in (0.1, 0.2, 0.9)
        ]
        configuration = {"n_qubits": qubits, "simulator": qubits < 10, "max_shots": 1000 * qubits}
        readout = [[{"name": "readout_error", "value": 0.01}], [{"name": "readout_error", "value": 0.03}]]
        document = {"configuration": configuration, "properties": {"gates": gates, "qubits": readout}}
        return Target(json.dumps(document).encode())
