# SPDX-License-Identifier: Apache-2.0
"""The worker: a forked process that runs one job and ends.

It is the only process that decodes what a user sent. Its memory is capped, it writes the result into the
spool and its outcome through a pipe, and it dies with its host.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from qrmi_core.engines.limits import limits_of, seed_of
from qrmi_core.engines.spool import SpooledTask
from qrmi_core.engines.work import Work
from qrmi_core.errors import QRMIError

__all__ = ["begin"]

PR_SET_PDEATHSIG = 1
_LONGEST_TEXT = 4000


def begin(run: Callable[[Work], bytes], task: SpooledTask, number: int, outcome: int) -> NoReturn:
    """Run job ``number`` of ``task`` in this process and end it; ``outcome`` is the pipe to the host."""
    told: Mapping[str, Any]
    status = 1
    try:
        _die_with_host()
        _send_output_to(task)
        job_id = task.job_id(number)
        told = {"ok": True}
        try:
            header = task.header()
            _cap_memory(limits_of(header["settings"]).memory)
            result = run(_work(task, number, header["settings"], is_batch="open" in header["fields"]))
            task.set_result(number, result)
            status = 0
        except MemoryError:
            told = {"reason": _out_of_memory(task)}
        except QRMIError as error:
            told = {"reason": _cut(str(error)), "code": _cut(error.code), "solution": _cut(error.solution)}
            logging.getLogger(__name__).error("%s: %s", job_id, error)
        except Exception as error:
            told = {"reason": _cut(_reason(error, task))}
            logging.getLogger(__name__).exception("%s failed", job_id)
        with contextlib.suppress(OSError):
            os.write(outcome, json.dumps(told, ensure_ascii=False).encode(errors="replace"))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _cut(text: str | None) -> str | None:
    """What fits into the pipe to the host, which reads it only when this process has ended."""
    return text if text is None or len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} [cut]"


def _work(task: SpooledTask, number: int, settings: Mapping[str, str], *, is_batch: bool) -> Work:
    return Work(
        task_id=task.id,
        job_id=task.job_id(number),
        resource=task.resource,
        settings=settings,
        payload=task.payload(),
        job=task.job(number) if is_batch else None,
        seed=seed_of(settings),
        limits=limits_of(settings),
    )


def _die_with_host() -> None:
    host = os.getppid()
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != host:
            os._exit(1)


def _send_output_to(task: SpooledTask) -> None:
    log = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)


def _cap_memory(limit: int) -> None:
    """Cap the data of this process at what it has now plus ``limit`` bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    cap = used + limit
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard in (resource.RLIM_INFINITY, -1) or cap <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))


def _out_of_memory(task: SpooledTask) -> str:
    megabytes = limits_of(task.header()["settings"]).memory // 2**20
    return (
        f"the task needs more than the {megabytes} MB that {task.resource} allows: use fewer qubits, "
        f"or raise QRMI_ENGINE_MEMORY_MB"
    )


def _reason(error: Exception, task: SpooledTask) -> str:
    if "bad_alloc" in str(error):
        return _out_of_memory(task)
    return f"{type(error).__name__}: {error}"
