# SPDX-License-Identifier: Apache-2.0
"""Rules for every test of the project."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def fail_instead_of_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Under CI=true a test that does not run is a test that failed: everything it needs must be installed."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing is skipped under CI=true, but this was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    fail_instead_of_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    fail_instead_of_skip(report)
    return report
