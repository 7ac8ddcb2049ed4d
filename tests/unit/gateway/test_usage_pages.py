# SPDX-License-Identifier: Apache-2.0
"""The list of what was run comes in pages: nothing twice, nothing left out, and each user's own only."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_case import Case
from munge_daemon import OTHER_UID, Munged

from qrmi_core.admin_client import AdminClient
from qrmi_core.gateway.doors.books import USAGE_PAGE
from qrmi_core.leases.journal import LeaseTask
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.sqlite_journal import SqliteJournal

ME = pwd.getpwuid(os.getuid()).pw_name
OWN, OTHERS = "a" * 32, "b" * 32
COUNT = 2 * USAGE_PAGE + 300
ALIKE = 7
"""So many tasks following each other were submitted at the same moment."""


@pytest.fixture(scope="module")
def gateway(daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Every third task is another user's, and every fifth line is of a session, which is no task."""
    case = Case(tmp_path_factory.mktemp("gateway"), daemons.socket, operators=[ME])
    journal = SqliteJournal(case.directory / "journal.sqlite")
    held = (Acquisition("Fez", AcquisitionState.RELEASED),)
    for number, (lease, uid) in enumerate({OWN: os.getuid(), OTHERS: OTHER_UID}.items()):
        holder = Holder(JobKey("c", number + 1, 1, 0), uid, str(uid), "physics")
        journal.write(LeaseRecord(lease, LeaseState.RELEASED, 1.0, None, held, holder, ended=9e9))
    for number in range(COUNT):
        task = LeaseTask("Fez", f"t{number}", submitted=moment(number))
        journal.add_task(OTHERS if number % 3 == 0 else OWN, task, most=2 * COUNT)
        if number % 5 == 0:
            session = LeaseTask("Fez", f"s{number}", kind="session", submitted=moment(number))
            journal.add_task(OWN, session, most=2 * COUNT)
    journal.close()
    with case.running():
        yield case


def moment(number: int) -> float:
    """When a task was submitted; no binary fraction, so that a place that is told inexactly is another one."""
    return 1000.1 + number // ALIKE / 10


def names(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["task"] for task in tasks]


def the_last_first(numbers: range, *, own: bool = False) -> list[str]:
    return [f"t{number}" for number in reversed(numbers) if not own or number % 3]


def test_a_client_gets_all_of_them_in_their_order(gateway: Case, daemons: Munged) -> None:
    admin, other = AdminClient(gateway.client()), AdminClient(gateway.client(unix=True, socket=daemons.other))
    assert names(admin.usage(everybody=True)) == the_last_first(range(COUNT))
    assert names(admin.usage()) == the_last_first(range(COUNT), own=True)
    assert sorted(names(other.usage())) == sorted(f"t{number}" for number in range(0, COUNT, 3))
    since = int(moment(COUNT // 3)) + 1
    first = next(number for number in range(COUNT) if moment(number) >= since)
    assert names(admin.usage(everybody=True, since=since)) == the_last_first(range(first, COUNT))


def test_a_page_has_as_many_as_are_wanted(gateway: Case) -> None:
    page = gateway.ask("GET", "/v1/usage?all=1")[1]
    assert len(page["tasks"]) == USAGE_PAGE
    whole = gateway.ask("GET", f"/v1/usage?since={moment(COUNT - 1)}")[1]
    assert "next" not in whole
    found: list[str] = []
    after = ""
    for _ in range(4):  # the pages end between tasks of the same moment
        page = gateway.ask("GET", f"/v1/usage?all=1&limit=3{after}")[1]
        found += names(page["tasks"])
        after = f"&after={page['next']}"
    assert found == the_last_first(range(COUNT - 12, COUNT))


def test_what_is_submitted_meanwhile_moves_nothing(gateway: Case) -> None:
    first = gateway.ask("GET", "/v1/usage?limit=3")[1]
    journal = gateway.server.gateway.journal
    journal.add_task(OWN, LeaseTask("Fez", "later", submitted=8e9), most=2 * COUNT).result(10)
    try:
        second = gateway.ask("GET", f"/v1/usage?limit=3&after={first['next']}")[1]
        assert names(first["tasks"] + second["tasks"]) == the_last_first(range(COUNT), own=True)[:6]
    finally:
        journal.change(lambda rows: rows.execute("DELETE FROM tasks WHERE task_id = 'later'").rowcount).result(10)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=ten", "limit=", "after=", "after=x", "after=0a"])
def test_other_pages_are_refused(gateway: Case, query: str) -> None:
    status, told = gateway.ask("GET", f"/v1/usage?{query}")
    expected = "limit: a number from 1 to 1000" if "limit" in query else "after: the next of the answer before"
    assert status == 400
    assert told["error"]["reason"].startswith(expected)


def test_a_place_that_is_made_up_tells_nothing_of_others(gateway: Case, daemons: Munged) -> None:
    for place in ("0" * 32, "f" * 32, "7ff0000000000000" + "7" * 16):
        status, told = gateway.ask("GET", f"/v1/usage?after={place}", socket=daemons.other)
        assert status == 200
        assert all(task["uid"] == OTHER_UID for task in told["tasks"])


@pytest.mark.parametrize("query", ["", "&all=1"])
def test_no_page_is_sorted_anew(gateway: Case, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    journal = gateway.server.gateway.journal
    rows = journal.rows
    plans: list[str] = []

    def explained(text: str, values: Any = ()) -> list[Any]:
        plans.extend(each[3] for each in rows(f"EXPLAIN QUERY PLAN {text}", values))
        return rows(text, values)

    after = gateway.ask("GET", f"/v1/usage?limit=3{query}")[1]["next"]
    monkeypatch.setattr(journal, "rows", explained)
    assert gateway.ask("GET", f"/v1/usage?limit=3{query}&after={after}")[0] == 200
    assert plans[0] == "SEARCH tasks USING INDEX by_time (submitted>? AND submitted<?)"
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
