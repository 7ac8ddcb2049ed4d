# SPDX-License-Identifier: Apache-2.0
"""What jobs used of QPUs: the gateway's tasks and Slurm's holding times put together, and the line for a job's record.

Slurm knows for how long lanes were held, the gateway what was run on them: tasks, shots and the seconds that the vendor
counted. Neither writes down what the other knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qrmi_core.names import LICENCE, licence
from qrmi_core.slurm.accounting import Holding

__all__ = ["ResourceUsage", "Usage", "joined", "system_comment"]

LONGEST_COMMENT = 999
LARGEST = 10**15


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a job's tasks used of one resource; None where no vendor told."""

    resource: str
    tasks: int = 0
    device_seconds: float | None = None
    shots: int | None = None


@dataclass(slots=True)
class Usage:
    """What a user used of one resource in the name of one account; None where nobody knows."""

    resource: str
    user: str
    account: str
    tasks: int = 0
    lane_seconds: int | None = None
    device_seconds: float | None = None
    shots: int | None = None
    job_ids: set[int] = field(default_factory=set)

    @property
    def jobs(self) -> int:
        """How many jobs held it or ran tasks on it."""
        return len(self.job_ids)


def system_comment(usages: Iterable[ResourceUsage]) -> str:
    """The line for a job's SystemComment: ``qpu v=1 ibm_fez.s=12.5 ibm_fez.n=3 ibm_fez.shots=4000``.

    ``s`` are device seconds, ``n`` tasks; what no vendor told is left out. Lower case without quotes, since sacctmgr of
    Slurm 22.05 keeps nothing else, and shorter than 1000 characters: ``more`` counts the resources that did not fit.
    """
    parts = ["qpu v=1"]
    room = LONGEST_COMMENT - len(parts[0]) - len(f" more={LARGEST}")
    left_out = 0
    for usage in usages:
        part = _told(usage)
        if left_out or len(part) > room:
            left_out += 1
            continue
        parts.append(part)
        room -= len(part)
    return "".join([*parts, f" more={min(left_out, LARGEST)}" if left_out else ""])


def _told(usage: ResourceUsage) -> str:
    name = re.sub("[^a-z0-9_]", "_", usage.resource.lower()) or "_"
    figures = {"s": usage.device_seconds, "n": usage.tasks, "shots": usage.shots}
    known = {key: value for key, value in figures.items() if value is not None and math.isfinite(value)}
    return "".join(f" {name}.{key}={_number(value)}" for key, value in known.items())


def _number(value: float) -> str:
    """Without an exponent, to the millisecond."""
    value = max(0, min(value, LARGEST))
    return str(value) if isinstance(value, int) else f"{value:.3f}".rstrip("0").rstrip(".")


def joined(
    tasks: Iterable[Mapping[str, Any]], held: Collection[Holding] | None, names: Iterable[str] = ()
) -> list[Usage]:
    """One usage for each resource, user and account, in this order.

    Args:
        tasks: as the gateway tells them.
        held: what Slurm's accounting tells; None where there is none.
        names: the site's resources, for the case of the letters, which licences do not keep.
    """
    spelled = {licence(name): name for name in names}
    found: dict[tuple[str, str, str], Usage] = {}

    def of(key: str, name: str, user: str, account: str) -> Usage:
        usage = Usage(spelled.get(key, name), user, account, lane_seconds=None if held is None else 0)
        return found.setdefault((key, user, account), usage)

    for task in tasks:
        resource = str(task["resource"])
        usage = of(
            licence(resource), resource, str(task.get("user") or task.get("uid") or ""), task.get("account") or ""
        )
        usage.tasks += 1
        usage.device_seconds = _sum(usage.device_seconds, task.get("usage_seconds"))
        usage.shots = _sum(usage.shots, task.get("shots"))
        if task.get("job_id") is not None:
            usage.job_ids.add(int(task["job_id"]))
    for each in held or ():
        usage = of(each.licence, each.licence.removeprefix(LICENCE), each.user, each.account)
        usage.lane_seconds = _sum(usage.lane_seconds, each.lane_seconds)
        usage.job_ids.add(each.job_id)
    return sorted(found.values(), key=lambda each: (each.resource.lower(), each.user, each.account))


def _sum(before: Any, more: Any) -> Any:
    return before if more is None else round(more + (before or 0), 6)
