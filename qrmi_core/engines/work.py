# SPDX-License-Identifier: Apache-2.0
"""What an engine's worker is handed: one job, decoded by nobody yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qrmi_core.payloads import Payload, PulserJob

__all__ = ["Limits", "Work"]


@dataclass(frozen=True)
class Limits:
    """The largest work that an engine takes on; ``memory`` and ``decompressed`` are bytes."""

    qubits: int
    shots: int
    memory: int
    decompressed: int
    threads: int


@dataclass(frozen=True)
class Work:
    """One job for a worker.

    An engine's worker module has one function ``run(work: Work) -> bytes``. It is called in a process of
    its own, forked from one that has imported the module, and may decode what it likes: its memory is
    capped and the process ends with the job. What it raises becomes the reason of the failed task; what
    it writes to stdout, stderr or ``logging`` becomes the task's log.

    ``settings`` is the resource's environment block without prefixes, ``job`` the job of a batch (None for
    payloads that are one job), ``seed`` what makes the result reproducible (None: a fresh one each time).
    """

    task_id: str
    job_id: str
    resource: str
    settings: Mapping[str, str]
    payload: Payload
    job: PulserJob | None
    seed: int | None
    limits: Limits
