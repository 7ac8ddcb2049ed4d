# SPDX-License-Identifier: Apache-2.0
"""How long announcing a task to the gateway holds a submission up: the first of a process, and those after it.

The goal is 5 ms, whatever the gateway does. Each row is the worst of several fresh processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROCESSES, TASKS = 7, 50
PROGRAM = f"""
import json, os, time
from qrmi_core.announcements import announce  # as with the first resource of a job
took = []
for number in range({TASKS}):
    begun = time.perf_counter()
    announce("0" * 32, "aer", str(number))
    took.append(1000 * (time.perf_counter() - begun))
print(json.dumps([took[0], max(took[1:])]), flush=True)
"""


@contextlib.contextmanager
def silent(directory: Path) -> Iterator[str]:
    """A gateway that takes connections and never answers."""
    path = directory / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        yield f"unix:{path}"


@contextlib.contextmanager
def away(_: Path) -> Iterator[str]:
    """Nobody listens."""
    yield "http://127.0.0.1:9"


def main() -> None:
    print(
        f"{'announcing a task (worst of ' + str(PROCESSES) + ' processes)':64} {'first':>8} {'others':>8}   goal 5 ms"
    )
    for what, gateway in (("the gateway is away", away), ("the gateway is silent", silent)):
        with tempfile.TemporaryDirectory() as name, gateway(Path(name)) as url:
            client = Path(name) / "client.json"
            client.write_text(json.dumps({"url": url}))
            environ = {**os.environ, "QRMI_CLIENT_CONFIG": str(client), "XDG_STATE_HOME": name}
            command = [sys.executable, "-c", PROGRAM]
            times = [
                json.loads(subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout)
                for _ in range(PROCESSES)
            ]
        first, others = (max(column) for column in zip(*times, strict=True))
        print(f"  {what:62} {first:5.1f} ms {others:5.1f} ms", flush=True)


if __name__ == "__main__":
    main()
