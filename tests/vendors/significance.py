# SPDX-License-Identifier: Apache-2.0
"""How unlikely counts must be before a test that draws its own program calls them wrong."""

from __future__ import annotations

__all__ = ["ALPHA"]

ALPHA = 1e-4
"""A right program fails once in 10,000 tests, each of which has other seeds in each run and tells them."""
