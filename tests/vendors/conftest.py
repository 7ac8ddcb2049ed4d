# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside it importable by the tests of the vendors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
