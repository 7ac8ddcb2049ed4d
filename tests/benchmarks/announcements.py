# SPDX-License-Identifier: Apache-2.0
"""Measures how long announcing a task to the gateway holds a submission up, for rows_gateway.py.

Each sample is the longest of a fresh process: of its first task, and of those after it.
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

from figures import Figure, Sample
from taking import tell

PROCESSES, TASKS = 7, 50
PROGRAM = f"""
import json, os, time
from qrmi_core.announcements import announce  # as with the first resource of a job
took = []
for number in range({TASKS}):
    begun = time.perf_counter()
    announce("0" * 32, "aer", str(number))
    took.append(time.perf_counter() - begun)
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


def sampled(client: Path) -> Sample:
    """A process whose gateway is that of ``client``."""
    environ = {**os.environ, "QRMI_CLIENT_CONFIG": str(client), "XDG_STATE_HOME": str(client.parent)}
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, check=True, capture_output=True, timeout=60)
    first, others = json.loads(told.stdout)
    return Sample(max(first, others), values={"ms, the first": 1000 * first, "ms, the others": 1000 * others})


def main() -> None:
    for measure, gateway in (("announce-away", away), ("announce-silent", silent)):
        with tempfile.TemporaryDirectory() as name, gateway(Path(name)) as url:
            client = Path(name) / "client.json"
            client.write_text(json.dumps({"url": url}))
            tell(Figure(measure, "ours", tuple(sampled(client) for _ in range(PROCESSES))))


if __name__ == "__main__":
    main()
