# SPDX-License-Identifier: Apache-2.0
"""The conformance suite passes good drivers, and fails each broken one at the check that names its fault."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from broken_drivers import BROKEN, RemembersForAll
from fault_run import CASES
from guide import guide_driver, of_guide
from vendor_site import Site, site

from qrmi_core import QuantumResource
from qrmi_core.conformance.suite import Outcome, Suite
from qrmi_core.discovery import driver

SHOTS = 20
SERVICE_TIME = 0.1

PATIENT = ("alice-bob-felis", "ibm-quantum-system", "pasqal-cloud", "pasqal-local")
"""Drivers of which the suite takes longest; what they share with another one is tried there."""

# Of those that are found out by running out of patience.
PATIENCE = {"CachesTheStatusForEver": 2.0, "LocksItselfOut": 3.0}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[float], Site]]:
    with ExitStack() as stack:

        @functools.cache
        def of(service_time: float) -> Site:
            return stack.enter_context(site("iqm-server", service_time=lambda: service_time))

        yield of


def not_passed(outcomes: Sequence[Outcome]) -> list[str]:
    return [
        f"{outcome.check}: {outcome.verdict}: {outcome.text}" for outcome in outcomes if outcome.verdict != "passed"
    ]


@pytest.mark.timeout(300)
def test_the_driver_of_the_guide_passes(servers: Callable[[float], Site]) -> None:
    values = of_guide(servers(SERVICE_TIME).environment)
    outcomes = Suite(guide_driver(), "qpu", values, shots=SHOTS, patience=60.0).run()
    assert not_passed(outcomes) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in PATIENT else []) for name in CASES],
)
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
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "all checks"])
@pytest.mark.parametrize(
    ("check", "kind"),
    [pytest.param(check, kind, id=f"{check}: {kind.__name__}") for check, kinds in BROKEN.items() for kind in kinds],
)
def test_a_broken_driver_fails_at_the_check_that_names_its_fault(
    check: str, kind: type[QuantumResource], whole: bool, servers: Callable[[float], Site]
) -> None:
    # A time-out that is ignored shows only where tasks take longer than the check allows for.
    running = servers(1.5 if check == "wait-time-out" else SERVICE_TIME)
    suite = Suite(
        kind,
        "qpu",
        of_guide(running.environment),
        shots=SHOTS,
        patience=PATIENCE.get(kind.__name__, 60.0),
        only=() if whole or check == "secrets" else [check],
    )
    outcomes = suite.run()
    assert [outcome.check for outcome in outcomes if outcome.verdict == "failed"] == [check], not_passed(outcomes)


@pytest.mark.timeout(300)
def test_a_fault_that_was_never_met_is_no_pass(servers: Callable[[float], Site]) -> None:
    values = of_guide(servers(SERVICE_TIME).environment)
    only = ["reads-survive", "silence"]
    outcomes = Suite(RemembersForAll, "qpu", values, shots=SHOTS, patience=60.0, only=only).run()
    verdicts = {outcome.check: outcome.verdict for outcome in outcomes}
    assert [verdicts[check] for check in only] == ["inconclusive", "inconclusive"], not_passed(outcomes)


def test_there_are_enough_broken_drivers() -> None:
    assert sum(len(kinds) for kinds in BROKEN.values()) >= 15
