# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of these tests importable by them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
