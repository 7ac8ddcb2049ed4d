# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside it, and the helpers of the Qiskit tests, importable by the tests of the vendors."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit" / "qiskit")]
