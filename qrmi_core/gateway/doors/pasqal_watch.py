# SPDX-License-Identifier: Apache-2.0
"""What looks at batches of Pasqal's cloud tell, and when a batch is looked at first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from qrmi_core.gateway.doors.pasqal_forms import has_settled
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.watch import Watch

__all__ = ["Status", "batch_watch"]

Told = TypeVar("Told")

FIRST_LOOK = 0.4
"""Seconds after a batch was sent at which it is looked at first, at the latest. Alone, pasqal-cloud looks after 2 s."""

HALVING = 0.2
"""How well it is found out how long batches take, as a share of the least time between two looks."""


def batch_watch(
    look: Callable[[tuple[str, ...]], Awaitable[Mapping[str, Told]]],
    *,
    min_poll: float,
    is_final: Callable[[Told], bool],
    stopping: asyncio.Event,
) -> Watch[Told]:
    """A watch for batches of a vendor that may be looked at every ``min_poll`` seconds."""
    return Watch(
        look,
        gap=min_poll,
        is_final=is_final,
        stopping=stopping,
        first=min(FIRST_LOOK, min_poll),
        halving=HALVING * min_poll,
    )


@dataclass(frozen=True)
class Status:
    """What the vendor tells of a batch; ``answer`` where it was asked for the status of this one alone."""

    view: Mapping[str, Any]
    answer: Answer | None = None

    @property
    def has_settled(self) -> bool:
        """Whether no job of it is at work or waits."""
        return has_settled(self.view)
