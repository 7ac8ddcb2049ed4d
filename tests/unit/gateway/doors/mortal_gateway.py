# SPDX-License-Identifier: Apache-2.0
"""A gateway in a process of its own, so that it can be killed while programs use it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from doored import Job
from munge_daemon import Munged

__all__ = ["Mortal", "mortal_gateway"]

PROGRAM = """
import dataclasses, json, signal, sys
from pathlib import Path
path, directory, socket, resources, names = json.load(sys.stdin)
sys.path[:0] = path
from munge_daemon import libraries
from doored import doored
libraries()
with doored(Path(directory), socket, resources) as case:
    print(json.dumps(dataclasses.asdict(case.granted(*names))), flush=True)
    signal.pause()
"""


class Mortal(NamedTuple):
    """A job with a lease of the gateway's, and the gateway's process."""

    job: Job
    pid: int


@contextlib.contextmanager
def mortal_gateway(
    directory: Path, daemons: Munged, resources: Sequence[dict[str, Any]], *names: str
) -> Iterator[Mortal]:
    """One with a lease of these resources; it is killed at the end of the block."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(json.dumps([sys.path, str(directory), daemons.socket, list(resources), names]))
            running.stdin.close()
            yield Mortal(Job(**json.loads(running.stdout.readline())), running.pid)
        finally:
            running.kill()
