# SPDX-License-Identifier: Apache-2.0
"""`qrmi usage` on a host without Slurm's accounting, where what the gateway knows is all; with it: tests/system."""

from __future__ import annotations

import csv
import json
import os
import pwd
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_site import Site

sys.path.append(str(Path(__file__).parents[2] / "vendors"))
sys.path.append(str(Path(__file__).parents[1] / "gateway"))

from gateway_case import Case
from munge_daemon import OTHER_UID, Munged, munged

from qrmi_core.leases.journal import LeaseTask
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.sqlite_journal import SqliteJournal

NOW = time.time()
ME = pwd.getpwuid(os.getuid()).pw_name
HEADING = ["RESOURCE", "USER", "ACCOUNT", "JOBS", "TASKS", "LANE", "SECONDS", "DEVICE", "SECONDS", "SHOTS"]


def keep(journal: SqliteJournal, job: int, uid: int, user: str, account: str, *tasks: LeaseTask) -> None:
    """A job that has ended, and what it ran."""
    holder = Holder(JobKey("c", job, 1, 0), uid, user, account)
    held = (Acquisition(tasks[0].resource, AcquisitionState.RELEASED),)
    journal.write(LeaseRecord(f"{job:032x}", LeaseState.RELEASED, NOW, None, held, holder, ended=NOW))
    for each in tasks:
        journal.add_task(f"{job:032x}", each, most=9)


def task(name: str, resource: str = "Fez", **more: Any) -> LeaseTask:
    told = {"submitted": NOW - 60, "shots": 100, "usage": 1.25, "outcome": "completed"}
    return LeaseTask(resource, name, **{**told, **more})


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    with munged() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(tmp_path_factory.mktemp("gateway"), daemons.socket, operators=[ME])
    journal = SqliteJournal(case.directory / "journal.sqlite")
    own = (os.getuid(), ME)
    keep(journal, 1, *own, "phys", task("t1"), task("t2", shots=None, usage=None, outcome="failed"))
    keep(journal, 2, *own, "chem", task("t3", "aer", submitted=NOW - 3 * 86400))
    keep(journal, 3, OTHER_UID, "other", "phys", task("t4"))
    journal.close()
    with case.running():
        yield case


def client_file(gateway: Case, munge_socket: str) -> Path:
    """A client.json of another user, where that munged is another's."""
    file = gateway.directory / f"client-{Path(munge_socket).name}.json"
    file.write_text(json.dumps({"url": f"unix:{gateway.admin}", "munge_socket": munge_socket}))
    return file


@pytest.fixture
def here(site: Site, gateway: Case, tmp_path: Path) -> Site:
    """A host with a client.json, and a sacct as of a cluster without slurmdbd."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n")
    (commands / "sacct").chmod(0o755)
    site.environment["PATH"] = f"{commands}:{site.environment['PATH']}"
    site.environment["QRMI_CLIENT_CONFIG"] = str(client_file(gateway, gateway.munge_socket))
    return site


def rows(site: Site, *options: str) -> list[dict[str, Any]]:
    done = site.qrmi("usage", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_without_slurmdbd_the_gateways_part_is_shown(here: Site) -> None:
    done = here.qrmi("usage")
    assert done.returncode == 0
    assert done.stderr == (
        "qrmi: this cluster has no accounting (slurmdbd); so there are no lane-seconds, only what the gateway knows\n"
    )
    heading, aer, fez = done.stdout.splitlines()
    assert heading.split() == HEADING
    assert aer.split() == ["aer", ME, "chem", "1", "1", "1.25", "100"]
    assert fez.split() == ["Fez", ME, "phys", "1", "2", "1.25", "100"]


def test_usage_of_an_account_and_of_a_time(here: Site) -> None:
    assert [row["resource"] for row in rows(here)] == ["aer", "Fez"]
    assert [row["resource"] for row in rows(here, "--account", "chem")] == ["aer"]
    assert [row["resource"] for row in rows(here, "--since", "2d")] == ["Fez"]
    tomorrow = time.strftime("%Y-%m-%d", time.localtime(NOW + 2 * 86400))
    assert rows(here, "--since", tomorrow) == []
    assert rows(here, "--user", ME, "--since=1h") == [
        {"resource": "Fez", "user": ME, "account": "phys", "jobs": 1, "tasks": 2, "lane_seconds": None,
         "device_seconds": 1.25, "shots": 100},
    ]  # fmt: skip


def test_everybodys_usage_is_for_operators(here: Site, gateway: Case, daemons: Munged) -> None:
    done = here.qrmi("usage", "--all", "--csv")
    told = list(csv.DictReader(done.stdout.splitlines()))
    assert [(row["user"], row["tasks"], row["lane_seconds"]) for row in told] == [
        (ME, "1", ""), *sorted([(ME, "2", ""), ("other", "1", "")]),
    ]  # fmt: skip
    assert [row["user"] for row in rows(here, "--user", "other")] == ["other"]
    other = str(client_file(gateway, daemons.other))
    for options in (["--all"], ["--user", "other"]):
        refused = here.qrmi("usage", *options, "--client-config", other)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(r"qrmi: the gateway refuses: .*may not do that\n", refused.stderr)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--json", "--csv"], "only one of them can be printed"),
        (["--all", "--user", "anna"], "either everybody's usage is summed up, or one user's"),
        (["--since", "yesterday"], "a date as 2026-11-01 or 2026-11-01T12:30, or 12h, 7d, 4w was expected"),
        (["--since", ""], "a date as"),
    ],
)
def test_a_mistake_is_said_in_one_line(here: Site, options: list[str], text: str) -> None:
    done = here.qrmi("usage", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
