# SPDX-License-Identifier: Apache-2.0
"""Environments for clients of the vendors that cannot be installed beside our own packages."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["python_with"]

ENVIRONMENTS = Path(__file__).parents[2] / "build" / "environments"
INSTALLATION = 900.0


def python_with(requirement: str) -> Path:
    """The Python of an environment that holds a requirement and nothing of ours; it is made once and kept in build/."""
    directory = ENVIRONMENTS / requirement.replace("==", "-")
    python, done = directory / "bin" / "python", directory / "installed"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            venv.create(directory, clear=True, with_pip=False)
            command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", requirement]
            subprocess.run(command, check=True, timeout=INSTALLATION)
            done.touch()
    return python


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        python_with(wanted)
