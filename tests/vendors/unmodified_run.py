# SPDX-License-Identifier: Apache-2.0
"""Programs of vendors' users, run by `qrmi run` where everything in the environment would lead them astray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["PROGRAMS", "environment", "qrmi_run", "told"]

QRMI = Path(sys.executable).with_name("qrmi")
PROGRAMS = Path(__file__).parent / "programs"
DEAD = "http://127.0.0.1:9"
SECONDS = 280.0


def environment(home: Path, **more: str) -> dict[str, str]:
    """That of a user behind a dead proxy."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), DEAD)
    kept = {name: os.environ[name] for name in ("PATH", "XDG_STATE_HOME")}
    return {**kept, "HOME": str(home), "NO_PROXY": "localhost", **proxies, **more}


def qrmi_run(
    *arguments: str | Path, environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`qrmi run` with these arguments."""
    return subprocess.run(
        [str(QRMI), "run", *map(str, arguments)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """What a program printed, as JSON."""
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)
