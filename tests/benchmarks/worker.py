# SPDX-License-Identifier: Apache-2.0
"""A process in which one client is measured: ``worker.py MODULE:FUNCTION``, the module one of ``programs/``.

The function is handed a :class:`Bench` and the arguments that come as JSON on standard input, and takes its samples;
they go out as JSON. Runs in the peers' Python too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Taken:
    """A sample that is taken: what else was counted goes into ``values``, the device's seconds into ``service``.

    ``requests`` is set where others talk to the emulator at the same time, so that it cannot be counted.
    """

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.service: float | None = None
        self.requests: int | None = None


class Bench:
    """Where a program takes its samples."""

    def __init__(self, emulator: Any) -> None:
        self.emulator = emulator
        self.samples: list[dict[str, Any]] = []
        self._knobs: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """The emulator's address."""
        return str(self.emulator.url)

    @contextlib.contextmanager
    def sample(self) -> Iterator[Taken]:
        """Measure the block. What follows it until :meth:`settle` counts as its requests, but not as its time."""
        taken = Taken()
        before = self.emulator.counts()
        cpu, begun = processor(), time.perf_counter()
        yield taken
        seconds, used = time.perf_counter() - begun, processor() - cpu
        self.samples.append({"taken": taken, "before": before, "seconds": seconds, "cpu": used})
        self.settle()

    def settle(self) -> None:
        """Count for the last sample what was asked until now."""
        last = self.samples[-1]
        after = self.emulator.counts()
        last["requests"] = after["requests"] - last["before"]["requests"]
        last["up"] = after["up"] - last["before"]["up"]
        last["down"] = after["down"] - last["before"]["down"]

    def told(self) -> list[dict[str, Any]]:
        """The samples as JSON."""
        told = []
        for sample in self.samples:
            taken = sample["taken"]
            kept = {name: sample[name] for name in ("seconds", "cpu", "requests", "up", "down")}
            if taken.requests is not None:
                kept["requests"] = taken.requests
            told.append({**kept, "service": taken.service, "values": taken.values})
        return told


def processor() -> float:
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> float:
    """Resident memory at this moment in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # whatever a client prints
        sys.path[:0] = [str(HERE), str(HERE / "programs")]
        from counted import Counted

        asked = json.loads(sys.stdin.readline())
        module, _, function = sys.argv[1].partition(":")
        bench = Bench(Counted(asked["port"]))
        error = None
        try:
            getattr(importlib.import_module(module), function)(bench, **asked["arguments"])
        except Exception as problem:  # noqa: BLE001  a peer may fail in any way, which is then its result
            error = f"{type(problem).__name__}: {problem}"[:300]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        json.dump({"samples": bench.told(), "peak": peak, "error": error}, answer)
    sys.stdout.flush()
    os._exit(0)  # clients' threads and clean-up are not measured


if __name__ == "__main__":
    main()
