# SPDX-License-Identifier: Apache-2.0
"""Puts values into Pulser sequences in a process of its own: the gateway itself decodes nothing that users send.

``python -m`` of this module is that process: JSON lines in, JSON lines out, until there are no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
from typing import Final

__all__ = ["Builder", "NotBuilt"]

SECONDS: Final = 60.0
"""For one sequence; the first waits until Pulser is imported."""

LONGEST_LINE: Final = 64 * 2**20
MEMORY: Final = 4 * 2**30


class NotBuilt(Exception):
    """A sequence cannot be built, and why; ``ours`` where that is not the fault of who sent it."""

    def __init__(self, reason: str, *, ours: bool) -> None:
        super().__init__(reason)
        self.ours = ours


class Builder:
    """The process, started when there is something to build; one sequence at a time. Its methods block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def built(self, sequence: str, variables: object, target: str) -> str:
        """The sequence with these values, for the device in ``target``.

        Raises:
            NotBuilt: there is none.
        """
        line = json.dumps([sequence, variables, target]).encode() + b"\n"
        with self._turn:
            try:
                told = json.loads(self._answered(line))
            except (OSError, ValueError):
                self._end()
                raise NotBuilt("the values could not be put into the sequence in time", ours=True) from None
        if "sequence" not in told:
            raise NotBuilt(str(told.get("reason")), ours=bool(told.get("ours")))
        return str(told["sequence"])

    def _answered(self, line: bytes) -> bytes:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-m", __name__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._process
        assert process.stdin is not None  # noqa: S101  both are pipes
        assert process.stdout is not None  # noqa: S101
        too_long = threading.Timer(SECONDS, process.kill)
        too_long.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline(LONGEST_LINE)
        finally:
            too_long.cancel()

    def stop(self) -> None:
        """End the process; whoever waits for it is told that there is no sequence."""
        if (process := self._process) is not None:
            process.kill()
        with self._turn:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()


def _main() -> None:
    from qrmi_core.converters import converter
    from qrmi_core.errors import QRMIError, ResourceUnavailable
    from qrmi_core.resource import Target

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        for line in sys.stdin.buffer:
            sequence, variables, target = json.loads(line)
            told: dict[str, object]
            try:
                build = converter("pulser-sequence", extra="pulser")
                ready, _, _ = build(sequence.encode(), json.dumps(variables).encode(), Target(target.encode()))
                told = {"sequence": ready.decode()}
            except QRMIError as error:
                told = {"reason": str(error), "ours": isinstance(error, ResourceUnavailable)}
            except Exception as error:  # noqa: BLE001  whatever a sequence makes of Pulser, others follow it
                told = {"reason": f"the sequence cannot be built: {type(error).__name__}", "ours": False}
            answers.write(json.dumps(told).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    _main()
