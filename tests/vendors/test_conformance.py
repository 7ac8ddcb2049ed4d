# SPDX-License-Identifier: Apache-2.0
"""The conformance suite passes good drivers, and fails each broken one at the check that names its fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from broken_drivers import BROKEN
from fault_run import CASES
from guide import guide_driver, of_guide
from vendor_site import Site, site

from qrmi_core import QuantumResource
from qrmi_core.conformance.suite import Outcome, Suite
from qrmi_core.discovery import driver

SHOTS = 20
SERVICE_TIME = 0.1


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with site("iqm-server", service_time=lambda: SERVICE_TIME) as running:
        yield running


def verdicts(kind: type[QuantumResource], values: dict[str, str], patience: float = 60.0) -> list[Outcome]:
    return list(Suite(kind, "qpu", values, shots=SHOTS, patience=patience).run())


def not_passed(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{outcome.check}: {outcome.verdict}: {outcome.text}" for outcome in outcomes if outcome.verdict != "passed"
    ]


@pytest.mark.timeout(300)
def test_the_driver_of_the_guide_passes(server: Site) -> None:
    assert not_passed(verdicts(guide_driver(), of_guide(server.environment))) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_our_drivers_pass(name: str) -> None:
    case = CASES[name]
    with case.start(service_time=lambda: SERVICE_TIME) as running:
        suite = Suite(
            driver(name),
            "qpu",
            {**running.environment, "QRMI_MIN_POLL": "0"},
            context=case.context,
            shots=SHOTS,
            patience=60.0,
        )
        failed = [outcome for outcome in suite.run() if outcome.verdict in {"failed", "not run"}]
    assert not_passed(failed) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("check", "kind"),
    [pytest.param(check, kind, id=f"{check}: {kind.__name__}") for check, kinds in BROKEN.items() for kind in kinds],
)
def test_a_broken_driver_fails_at_the_check_that_names_its_fault(
    check: str, kind: type[QuantumResource], server: Site
) -> None:
    outcomes = verdicts(kind, of_guide(server.environment), patience=60.0 if check != "waiting" else 1.0)
    assert [outcome.check for outcome in outcomes if outcome.verdict == "failed"] == [check], not_passed(outcomes)


def test_there_are_enough_broken_drivers() -> None:
    assert sum(len(kinds) for kinds in BROKEN.values()) >= 15
