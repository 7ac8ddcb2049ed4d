# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests, none of them decoded: spooled within limits, their top-level keys found, rebuilt by splicing."""

from __future__ import annotations

from qrmi_core.gateway.bodies.envelope import SMALL, Envelope, Rebuilt, top_level
from qrmi_core.gateway.bodies.spooled import IN_MEMORY, Spool, Spooled

__all__ = ["IN_MEMORY", "SMALL", "Envelope", "Rebuilt", "Spool", "Spooled", "top_level"]
