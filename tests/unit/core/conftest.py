# SPDX-License-Identifier: Apache-2.0
"""Makes tiny_engine importable by the tests, as PYTHONPATH does for the engines' hosts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
