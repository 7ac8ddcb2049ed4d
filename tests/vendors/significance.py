# SPDX-License-Identifier: Apache-2.0
"""How unlikely counts must be before a test that draws its own program calls them wrong."""

from __future__ import annotations

__all__ = ["ALPHA"]

ALPHA = 1e-6
"""Some hundred such tests in a run, each with other seeds in each run, are wrong together once in 10,000 runs."""
