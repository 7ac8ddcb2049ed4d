# SPDX-License-Identifier: Apache-2.0
"""A vendor's server in front of an engine, and our driver of it: what the tests of every vendor start from."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from qrmi_core import JobContext, Payload, QRMIService, QuantumResource
from qrmi_core.discovery import driver
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import DialectOptions, dialect
from qrmi_core.gateway.emulator import Emulator
from qrmi_core.gateway.faults import Faults

__all__ = ["Case", "Clock", "Site", "result_in_new_process", "site"]


class Clock:
    """How long a task takes at a server; tests change it while the server runs."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Site:
    """A running server and what reaches it; ``also_faulty`` are the fault makers of its other servers (S3)."""

    emulator: Emulator
    environment: Mapping[str, str]
    also_faulty: list[Faults] = field(default_factory=list)

    def resource(
        self,
        kind: type[QuantumResource] | None = None,
        context: JobContext | None = None,
        *,
        name: str = "qpu",
        **variables: str,
    ) -> QuantumResource:
        """Our driver of the server; more ``variables`` are added to its environment block."""
        kind = kind or driver(self.emulator.type)
        return kind.from_environment(name, {**self.environment, **variables}, context or JobContext())


@dataclass(frozen=True)
class Case:
    """A vendor in the suites that run for every vendor.

    ``start`` starts its server (see :func:`site`), ``payload`` makes the payload of a number: different ones for
    different numbers, quick to run, with a result that ``verify`` can tell from the others' (it raises
    AssertionError). ``looks_up`` says whether the vendor has a look-up for tasks whose submission was answered
    ambiguously; ``blind`` is the driver with that look-up switched off. ``context`` is what a job's driver knows;
    ``acquires`` whether tasks need an acquisition.
    """

    type: str
    start: Callable[..., AbstractContextManager[Site]]
    payload: Callable[[int], Payload]
    verify: Callable[[bytes, int], None]
    looks_up: bool
    blind: type[QuantumResource] | None = None
    context: JobContext = field(default_factory=JobContext)
    acquires: bool = False


@contextlib.contextmanager
def site(
    name: str,
    *,
    engine: str | QuantumResource | None = None,
    faults: Faults | None = None,
    options: DialectOptions | None = None,
    lanes: int | None = None,
    service_time: Callable[[], float] = lambda: 0.0,
) -> Iterator[Site]:
    """A server of the dialect ``name`` in front of an engine, by default the embedded one of that dialect."""
    resource = engine if isinstance(engine, QuantumResource) else QRMIService().resource(engine or dialect(name).engine)
    device = Device(resource, lanes=lanes, service_time=service_time)
    with Emulator(name, device, options=options, faults=faults) as emulator:
        yield Site(emulator, emulator.environment())


def result_in_new_process(kind: type[QuantumResource], environment: Mapping[str, str], task_id: str) -> bytes:
    """The result of a task, from an interpreter that knows nothing but its id and the resource's environment block."""
    program = (
        "import json, sys\n"
        "from qrmi_core import JobContext\n"
        f"from {kind.__module__} import {kind.__name__}\n"
        "values, task = json.load(sys.stdin)\n"
        f"resource = {kind.__name__}.from_environment('qpu', values, JobContext())\n"
        "print(resource.task(task).result(timeout=60).value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([dict(environment), task_id]),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.encode()
