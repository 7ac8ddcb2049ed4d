# SPDX-License-Identifier: Apache-2.0
"""Batches where the vendor knows single jobs only: the batch's id holds all that another process needs."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from qrmi_core.errors import ResultError
from qrmi_core.tasks import TaskStatus

__all__ = ["Batch", "Built", "counter_of", "status_of_batch"]

_FORM = re.compile(r"([1-9][0-9]{0,9}(?:-[1-9][0-9]{0,9})*)(?:~([A-Za-z0-9_-]+))?", re.ASCII)
_LARGEST = 2**20


@dataclass(frozen=True)
class Built:
    """What is known of a built sequence and not told by its counts: the atoms' order, and nanoseconds."""

    atoms: tuple[str, ...]
    duration: int


@dataclass(frozen=True)
class Batch:
    """Jobs of the vendor, and what was built for each of them (None: not known).

    Its id is the jobs' ids joined by hyphens; where the sequences are known, a tilde and a short code of them follow.
    """

    jobs: tuple[int, ...]
    built: tuple[Built, ...] | None = None

    @property
    def id(self) -> str:
        """The id that leads back to it."""
        joined = "-".join(map(str, self.jobs))
        return joined if self.built is None else f"{joined}~{_packed(self.built)}"

    @classmethod
    def of(cls, text: str) -> Self:
        """The batch that an id stands for.

        Raises:
            ValueError: it is no id of a batch.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(text)
        jobs = tuple(map(int, form[1].split("-")))
        built = None if form[2] is None else _unpacked(form[2], len(jobs))
        return cls(jobs, built)

    def built_for(self, job: int) -> Built | None:
        """What was built for a job."""
        return None if self.built is None else self.built[self.jobs.index(job)]


def status_of_batch(statuses: Sequence[TaskStatus]) -> TaskStatus:
    """The status of a batch whose jobs have these."""
    if all(status is TaskStatus.QUEUED for status in statuses):
        return TaskStatus.QUEUED
    if not all(status.is_final for status in statuses):
        return TaskStatus.RUNNING
    return next(each for each in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED) if each in statuses)


def counter_of(results: Any, what: str) -> dict[str, int]:
    """The counts in the text that Warden has for a job's results; ``what`` they are, for errors.

    Raises:
        ResultError: there are none, or they are not of the promised form.
    """
    if results is None:
        raise ResultError(f"{what} are not there, though it is done: ask again later", transient=True)
    try:
        counter = (json.loads(results) if isinstance(results, str) else results)["counter"]
        return {str(bits): int(count) for bits, count in counter.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(
            f"{what} are not the JSON object with a counter that Warden promises, but {str(results)[:120]!r}: tell the "
            f"administrators of the QPU, whose software writes them so"
        ) from error


def _packed(built: Sequence[Built]) -> str:
    """Most batches have one sequence, and its atoms are called q0, q1, q2 ...: that is told once, and in short."""
    told = [[_named(each.atoms), each.duration] for each in (built[:1] if len(set(built)) == 1 else built)]
    data = zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str, jobs: int) -> tuple[Built, ...]:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        told = json.loads(zlib.decompressobj().decompress(data, _LARGEST))
        built = tuple(Built(_names(atoms), int(duration)) for atoms, duration in told)
    except (zlib.error, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(text) from error
    if len(built) not in {1, jobs}:
        raise ValueError(text)
    return built * jobs if len(built) == 1 else built


def _named(atoms: tuple[str, ...]) -> Any:
    prefix = atoms[0].removesuffix("0") if atoms else ""
    counted = {prefix: len(atoms)}
    return counted if atoms == _names(counted) else list(atoms)


def _names(told: Any) -> tuple[str, ...]:
    if isinstance(told, dict):
        ((prefix, count),) = told.items()
        return tuple(f"{prefix}{number}" for number in range(min(count, _LARGEST)))
    return tuple(map(str, told))
