# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside it importable by the tests of the vendors, and prints what the fault runs met."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the faults of each run by route."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    told = [value for report in reports for name, value in getattr(report, "user_properties", []) if name == "faults"]
    if told:
        terminalreporter.section("faults by route")
        for text in told:
            terminalreporter.write_line(str(text))
