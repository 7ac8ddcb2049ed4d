# SPDX-License-Identifier: Apache-2.0
"""The emulator's process, and its knobs and counters. Needs the standard library only, for the peers' Python."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Counted", "emulator"]

LONGEST = 300.0


class Counted:
    """A running emulator."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def use(self, **knobs: Any) -> None:
        """Set its knobs, the others as usual, and forget what was counted. Tokens stay good."""
        self._ask("POST", "/_ctl/use", knobs)

    def counts(self) -> dict[str, Any]:
        """What was counted since."""
        counted: dict[str, Any] = self._ask("GET", "/_ctl/counts")
        return counted

    def work(self, name: str) -> tuple[float, int]:
        """The seconds that the device works for a job or batch, and the requests for it, with its submission."""
        told = self._ask("GET", f"/_ctl/work/{name}")
        return told["seconds"], told["requests"]

    def finish(self) -> None:
        """Let every job end."""
        self._ask("POST", "/_ctl/finish")

    def meet(self, count: int) -> None:
        """Wait until so many processes are here."""
        self._ask("POST", f"/_ctl/meet/{count}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the emulator answered {answer.status} to {path}")
            return json.loads(told)


@contextlib.contextmanager
def emulator(answers: Path) -> Iterator[Counted]:
    """An emulator of our own for as long as the block runs."""
    command = [sys.executable, str(Path(__file__).with_name("emulator.py")), str(answers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Counted(json.loads(process.stdout.readline())["port"])
        finally:
            process.stdin.close()
            process.terminate()
