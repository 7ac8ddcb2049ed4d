# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside it, and the munge of the vendors' tests, importable here."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "vendors")]
