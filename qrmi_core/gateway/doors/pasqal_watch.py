# SPDX-License-Identifier: Apache-2.0
"""What looks at batches of Pasqal's cloud tell, and when a batch is looked at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qrmi_core.gateway.doors.pasqal_forms import has_settled
from qrmi_core.gateway.doors.pass_through import Answer

__all__ = ["FIRST_LOOK", "HALVING", "Status"]

FIRST_LOOK = 0.4
"""Seconds after a batch was sent at which it is looked at first, at the latest. Alone, pasqal-cloud looks after 2 s."""

HALVING = 0.2
"""How well it is found out how long batches take, as a share of the least time between two looks."""


@dataclass(frozen=True)
class Status:
    """What the vendor tells of a batch; ``answer`` where it was asked for the status of this one alone."""

    view: Mapping[str, Any]
    answer: Answer | None = None

    @property
    def has_settled(self) -> bool:
        """Whether no job of it is at work or waits."""
        return has_settled(self.view)
