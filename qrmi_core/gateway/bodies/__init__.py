# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests, none of them decoded: spooled within limits, their top-level keys found, rebuilt by splicing."""

from __future__ import annotations

from qrmi_core.gateway.bodies.envelope import Envelope, Rebuilt, top_level
from qrmi_core.gateway.bodies.spooled import Spool, Spooled

__all__ = ["Envelope", "Rebuilt", "Spool", "Spooled", "top_level"]
