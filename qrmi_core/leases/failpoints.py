# SPDX-License-Identifier: Apache-2.0
"""Named places between two steps of a grant or release, at which a test can end the process as a crash would.

``QRMI_FAILPOINT=grant.acquire:after`` kills this process with SIGKILL when that step was done, ``:before`` when
it is about to be; ``:after:3`` the third time. The names stand in the code and nowhere else: the tests read
them there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from qrmi_core import environment

__all__ = ["step"]

_left: dict[str, int] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """A step that may be the last one."""
    wanted = environment.failpoint()
    if wanted is not None:
        _reach(wanted, f"{name}:before")
    yield
    if wanted is not None:
        _reach(wanted, f"{name}:after")


def _reach(wanted: str, place: str) -> None:
    if wanted != place and not wanted.startswith(f"{place}:"):
        return
    with _lock:
        left = _left.setdefault(place, int(wanted.removeprefix(place).removeprefix(":") or 1)) - 1
        _left[place] = left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
