# SPDX-License-Identifier: Apache-2.0
"""A worker module that takes its time to import, and can be interrupted as Python code can."""

import time

END = time.monotonic() + 60
while time.monotonic() < END:
    time.sleep(0.01)
