# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of these tests importable by them; see :mod:`doored` for the gateway that they start."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
