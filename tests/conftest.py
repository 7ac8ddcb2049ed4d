# SPDX-License-Identifier: Apache-2.0
"""Rules for every test of the project."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What one process has compiled is read by the thousands that the tests start, and by the next worker.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell lets what it starts with "&" ignore these, and so would every program that the tests start.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TABLES = {
    "faults": "faults by route",
    "crash": "from Slurm's knowing that a job is over to the released QPU",
    "gap": "from the end of one job to the start of the next on the same lane",
}


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


@pytest.fixture(scope="session", autouse=True)
def spool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A spool of the tests' own, shared within a worker so that engines stay warm; their hosts end with it."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(state))
        for variable in [name for name in os.environ if name.startswith(("QRMI_", "SLURM_"))]:
            patch.delenv(variable)
        yield state / "qrmi"
    stop_hosts(state / "qrmi")


def stop_hosts(spool: Path) -> None:
    """End the engines' host processes of a spool, which are this test run's own."""
    for lock in (spool / "hosts").glob("*.lock"):
        with contextlib.suppress(ProcessLookupError, ValueError, IndexError):
            os.kill(int(lock.read_text().split()[0]), signal.SIGTERM)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured: the faults of each run by route, how long QPUs took to be given back."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    properties = [each for report in reports for each in getattr(report, "user_properties", [])]
    for name, title in TABLES.items():
        told = [value for each, value in properties if each == name]
        if told:
            terminalreporter.section(title)
            for text in told:
                terminalreporter.write_line(str(text))
