# SPDX-License-Identifier: Apache-2.0
"""QPUs in Slurm's accounting: real slurmdbd, real MariaDB, and the commands that `qrmi slurm configure` writes."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import pwd
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accounting_site import ACCOUNTS, RESOURCES, AccountingSite, accounting_site, no_accounting
from cluster import USERS, Jobs, granted, release, show, write_state

sys.path.append(str(Path(__file__).parents[1] / "unit" / "gateway"))

from gateway_case import Case
from helper_site import Site as Helper
from helper_site import running_helper

from qrmi_core import polling
from qrmi_core.config import Configuration
from qrmi_core.gateway.comments import Comment, CommentWriter
from qrmi_core.gateway.environments import Environments
from qrmi_core.gateway.helper_client import HelperClient, HelperRefused
from qrmi_core.gateway.job_comments import JobComments
from qrmi_core.leases.journal import LeaseTask
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.sqlite_journal import SqliteJournal
from qrmi_core.slurm.accounting import AccountingUnavailable, Holding, holdings
from qrmi_core.slurm.configure import Site, files
from qrmi_core.slurm.site import COMMAND, python_for_everybody
from qrmi_core.usage import ResourceUsage, system_comment

FILES = files(RESOURCES, Site("http://head:7811", slurmdbd=True))
NAMES = {"ANNA": USERS[0], "PHYSICS": ACCOUNTS[USERS[0]]}
CLUSTER = "qrmi"


@pytest.fixture(scope="module")
def site() -> Iterator[AccountingSite]:
    if reason := no_accounting():
        pytest.skip(reason)
    conf = dict(line.split("=", 1) for line in FILES["qrmi_slurm.conf"].splitlines() if "=" in line)
    needed = {
        "AccountingStorageEnforce": "associations,limits,qos,safe",
        "PriorityType": "priority/multifactor",
        "PriorityCalcPeriod": "1",
    }
    with accounting_site({"AccountingStorageTRES": conf["AccountingStorageTRES"], **needed}) as running:
        yield running


@pytest.fixture(scope="module")
def helper(site: AccountingSite) -> Iterator[Helper]:
    """The root helper of a gateway that runs as root, since only its user may ask."""
    with running_helper(slurm_conf=str(site.cluster.slurm_conf), owner=0) as running:
        yield running


@pytest.fixture(scope="module")
def asked(helper: Helper) -> HelperClient:
    return HelperClient(helper.socket)


@pytest.fixture(scope="module")
def finished(site: AccountingSite) -> int:
    """A job of the first user that held two lanes for two seconds or more."""
    jobs = site.jobs()
    job = held_job(jobs, "--qpu=aer_fez:2", script="sleep 2")
    release(site.cluster, job)
    assert jobs.ended(job)["JobState"] == "COMPLETED", jobs.output(job)
    site.recorded(job)
    since, conf = time.time() - 600, site.cluster.slurm_conf
    # Asked for a time, sacct shows a job somewhat later than by its number.
    assert polling.wait_until(lambda: job in {each.job_id for each in holdings(since, slurm_conf=conf)}, timeout=20)
    return job


def held_job(jobs: Jobs, *options: str, script: str = "true") -> int:
    """A job that will have its QPU when it is let go."""
    job = jobs.submit("-H", *options, script=script)
    write_state(jobs.cluster, job, granted(jobs.uid))
    return job


def commands(word: str) -> list[list[str]]:
    """The arguments of sacctmgr in the lines of the written file that have this word, with the names of this site."""
    found = [line for line in FILES["qrmi_sacctmgr.sh"].splitlines() if line.startswith("#sacctmgr ") and word in line]
    assert found, word
    return [[_filled(each) for each in line.split()[1:]] for line in found]


def _filled(word: str) -> str:
    return NAMES.get(word, word)


@contextlib.contextmanager
def pasted(site: AccountingSite, word: str, limit: str | None = None) -> Iterator[None]:
    """A limit of the written file, or another in its place, in force until the end of the block."""
    (command,) = commands(word)
    entity, given = command[: command.index("set") + 1], command[command.index("set") + 1 :]
    site.sacctmgr(*entity, *([limit] if limit else given))
    try:
        yield
    finally:
        site.cluster.run(["scancel", "--state=PENDING"], timeout=10)
        free = [re.sub(r"=\d+(?=,|$)", "=-1", each).replace("+=", "-=") for each in given]
        site.sacctmgr(*entity, *free)


def lease(journal: SqliteJournal, job: int, submitted: int, *tasks: LeaseTask, user: str = USERS[0]) -> None:
    """Have the journal know that a job had a lease, and what it ran."""
    holder = Holder(JobKey(CLUSTER, job, submitted, 0), pwd.getpwnam(user).pw_uid, user, ACCOUNTS[user])
    held = (Acquisition("aer_fez", AcquisitionState.RELEASED),)
    journal.write(LeaseRecord(f"{job:032x}", LeaseState.RELEASED, float(submitted), None, held, holder))
    for task in tasks:
        journal.add_task(f"{job:032x}", task, most=9)


def submitted(site: AccountingSite, job: int) -> int:
    environment = site.cluster.environment(SLURM_TIME_FORMAT="%s")
    command = ["sacct", "-X", "-n", "-P", "-j", str(job), "--format=JobIDRaw,Submit"]
    told = site.cluster.run(command, environment=environment).stdout
    return int(dict(line.split("|") for line in told.split())[str(job)])


def test_a_finished_job_shows_its_lanes(site: AccountingSite, finished: int) -> None:
    assert "license/qpu_aer_fez=2" in site.sacct(finished, "AllocTRES").split(",")
    seconds = int(site.sacct(finished, "ElapsedRaw"))
    conf, account = site.cluster.slurm_conf, ACCOUNTS[USERS[0]]
    expected = Holding("qpu_aer_fez", finished, USERS[0], account, 2, seconds)
    found: list[Holding] = []

    def is_there() -> bool:
        found[:] = holdings(time.time() - 600, slurm_conf=conf)
        return expected in found

    assert polling.wait_until(is_there, timeout=20), found
    assert expected.lane_seconds == 2 * seconds >= 4
    assert found == holdings(time.time() - 600, user=USERS[0], account=account, slurm_conf=conf)
    assert holdings(time.time() - 600, user=USERS[1], slurm_conf=conf) == []
    assert holdings(time.time() - 600, account=ACCOUNTS[USERS[1]], slurm_conf=conf) == []
    assert holdings(time.time() + 1, slurm_conf=conf) == []


@pytest.mark.slow
def test_a_qos_gate_refuses_at_submission(site: AccountingSite) -> None:
    first, second = site.jobs(USERS[0]), site.jobs(USERS[1])
    for command in commands("add qos qpu"):
        site.sacctmgr(*command)
    for command in commands("qos+=qpu"):
        site.sacctmgr(*command)
    with pasted(site, "MaxTRESPerJob"):
        refused = []

        def is_refused() -> bool:
            refused.append(second.sbatch("-H", "--qpu=aer_fez"))
            return refused[-1].returncode != 0

        assert polling.wait_until(is_refused, timeout=20)
        assert "QOSMaxLicensePerJob" in refused[-1].stderr
        assert "Invalid qos" in second.sbatch("-H", "--qpu=aer_fez", "--qos=qpu").stderr
        assert second.submit("-H")
        allowed = first.submit("-H", "--qpu=aer_fez:2", "--qos=qpu")
        assert show(site.cluster, allowed)["Licenses"] == "qpu_aer_fez:2"
        with pasted(site, "MaxTRESPerUser"):
            assert polling.wait_until(
                lambda: "QOSMaxLicensePerUser" in first.sbatch("-H", "--qpu=aer_fez:2", "--qos=qpu").stderr, timeout=20
            )
            assert first.submit("-H", "--qpu=aer_fez:1", "--qos=qpu")


@pytest.mark.slow
def test_a_budget_makes_a_job_wait_or_refuses_it(site: AccountingSite) -> None:
    jobs = site.jobs()
    with pasted(site, "GrpTRESMins", "GrpTRESMins=license/qpu_fez=1"):
        job = jobs.submit("--qpu=Fez", "--time=5")
        waits = polling.wait_until(lambda: show(site.cluster, job)["Reason"] == "AssocGrpLicenseMinutes", timeout=20)
        assert waits, show(site.cluster, job)
        assert jobs.submit("-H", "--qpu=aer_fez:3", "--time=5")
        with pasted(site, "MaxTRESPerJob", "Flags+=DenyOnLimit"):
            refused = polling.wait_until(
                lambda: "AssocGrpLicenseMinutes" in jobs.sbatch("-H", "--qpu=Fez", "--time=5").stderr, timeout=20
            )
            assert refused
    for command in commands("RawUsage=0"):
        site.sacctmgr(*command)


@pytest.mark.slow
def test_a_comment_is_written_as_it_is(
    site: AccountingSite, helper: Helper, asked: HelperClient, finished: int
) -> None:
    text = system_comment([ResourceUsage("aer_fez", 3, 12.5, 4000), ResourceUsage("Fez")])
    assert text == "qpu v=1 aer_fez.s=12.5 aer_fez.n=3 aer_fez.shots=4000 fez.n=0"
    moment = submitted(site, finished)
    with pytest.raises(HelperRefused, match=f"the journal knows no lease of job {finished}") as unknown:
        asked.system_comment(CLUSTER, finished, moment, text)
    assert not unknown.value.transient
    lease(helper.journal, finished, moment)
    asked.system_comment(CLUSTER, finished, moment, text)
    assert site.sacct(finished, "SystemComment") == text
    many = system_comment(ResourceUsage(f"{number:_>40}", 10**9, 1e9, 10**12) for number in range(40))
    asked.system_comment(CLUSTER, finished, moment, many)
    assert site.sacct(finished, "SystemComment") == many


@pytest.mark.slow
def test_what_the_accounting_does_not_know_yet_is_worth_another_try(
    site: AccountingSite, helper: Helper, asked: HelperClient
) -> None:
    lease(helper.journal, 4_000_000, 1_700_000_000)
    with pytest.raises(HelperRefused, match="sacct does not know job 4000000 yet") as unknown:
        asked.system_comment(CLUSTER, 4_000_000, 1_700_000_000, "qpu v=1")
    assert unknown.value.transient
    command = ["sacctmgr", "-i", "modify", "job", "where", "jobid=4000000", f"cluster={CLUSTER}", "set"]
    done = site.cluster.run([*command, "SystemComment=v=1"], check=False)
    assert "Modified" not in done.stdout  # by which the helper tells: 22.05 prints "Nothing modified", 24.11 nothing


@pytest.mark.slow
def test_a_job_that_was_put_back_into_the_queue_is_another_run(
    site: AccountingSite, helper: Helper, asked: HelperClient, finished: int
) -> None:
    earlier = submitted(site, finished) - 60
    lease(helper.journal, finished, earlier)
    with pytest.raises(HelperRefused, match="a later job of the id") as refused:
        asked.system_comment(CLUSTER, finished, earlier, "qpu v=1")
    assert not refused.value.transient


@pytest.mark.slow
def test_each_task_of_an_array_has_its_own_comment(site: AccountingSite, helper: Helper, asked: HelperClient) -> None:
    jobs = site.jobs(USERS[1])
    array = jobs.submit("-H", "--array=1-2", "--qpu=aer_fez")
    release(site.cluster, array)
    command = ["sacct", "-X", "-n", "-P", f"--jobs={array}", "--format=JobIDRaw,End"]

    def ends() -> dict[str, str]:
        return dict(line.split("|") for line in site.cluster.run(command).stdout.split())

    assert polling.wait_until(lambda: len(ends()) == 2 and "Unknown" not in ends().values(), timeout=30), ends()
    for task in map(int, ends()):
        lease(helper.journal, task, submitted(site, task))
        asked.system_comment(CLUSTER, task, submitted(site, task), f"qpu v=1 aer_fez.n={task}")
    told = site.cluster.run([*command[:-1], "--format=JobIDRaw,SystemComment"]).stdout.splitlines()
    assert sorted(told) == sorted(f"{task}|qpu v=1 aer_fez.n={task}" for task in ends())


@pytest.mark.slow
def test_without_slurmdbd_nothing_is_tried_again(site: AccountingSite, tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    text = "ClusterName=qrmi\nSlurmctldHost=localhost\nAccountingStorageType=accounting_storage/none\n"
    conf.write_text(f"{text}NodeName=n1\nPartitionName=main Nodes=n1\n")
    with running_helper(slurm_conf=str(conf), owner=0) as running:
        lease(running.journal, 7, 1_700_000_000)
        with pytest.raises(HelperRefused, match="this cluster has no accounting") as refused:
            HelperClient(running.socket).system_comment(CLUSTER, 7, 1_700_000_000, "qpu v=1")
        assert not refused.value.transient


@pytest.mark.slow
def test_a_comment_waits_for_slurmdbd(site: AccountingSite, helper: Helper, asked: HelperClient, finished: int) -> None:
    moment = submitted(site, finished)
    lease(helper.journal, finished, moment)
    settled: list[Comment] = []
    tries: list[int] = []
    written: list[str] = []

    class Watched(HelperClient):
        def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
            tries.append(job_id)
            super().system_comment(cluster, job_id, submitted, text)
            written.append(text)

    async def write() -> None:
        writer = CommentWriter(Watched(helper.socket), settled=settled.append)
        running = asyncio.create_task(writer.run())
        with site.slurmdbd_down():
            with pytest.raises(AccountingUnavailable, match="Slurm's accounting does not answer") as down:
                holdings(0, slurm_conf=site.cluster.slurm_conf)
            assert down.value.transient
            writer.add(CLUSTER, finished, moment, "qpu v=1 aer_fez.n=7")
            await until(lambda: len(tries) > 1)
            assert written == []
        await until(lambda: bool(settled))
        running.cancel()
        assert writer.pending == 0

    asyncio.run(write())
    assert [each.text for each in settled] == written == ["qpu v=1 aer_fez.n=7"]
    assert site.sacct(finished, "SystemComment") == "qpu v=1 aer_fez.n=7"


async def until(condition: Any) -> None:
    assert await asyncio.to_thread(polling.wait_until, condition, timeout=60)


@pytest.mark.slow
def test_the_end_of_a_lease_is_told_once_also_when_slurmdbd_was_away(
    site: AccountingSite, helper: Helper, finished: int
) -> None:
    """From the keeper's release to the job's record: the journal, the root helper, sacctmgr and slurmdbd."""
    entry = {"name": "aer_fez", "type": "aer-simulator", "environment": {}, "lanes": 3}
    environments = Environments(Configuration.checked({"resources": [entry]}), "qrmi_config.json")
    keeper = LeaseKeeper(helper.journal, environments, environments.lanes)
    key = JobKey(CLUSTER, finished, submitted(site, finished), 1)  # another run: other tests have leases of the first
    holder = Holder(key, pwd.getpwnam(USERS[0]).pw_uid, USERS[0], ACCOUNTS[USERS[0]], nodes=("n1",))
    told: list[str] = []

    class Watched(HelperClient):
        def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
            super().system_comment(cluster, job_id, submitted, text)
            if job_id == finished:
                told.append(text)

    def comments() -> JobComments:
        """What a gateway makes when it starts."""
        return JobComments(
            helper.journal, Watched(helper.socket), lambda _, work, *given: asyncio.to_thread(work, *given)
        )

    async def look_until(condition: Any) -> None:
        """What a gateway does every few seconds."""
        mine = comments()
        running = asyncio.create_task(mine.run())
        for _ in range(60):
            await mine.look(accounting=True)
            if condition(mine):
                break
            await polling.pause_async(0.5)
        running.cancel()
        assert condition(mine)

    with site.slurmdbd_down():
        lease = keeper.grant(holder, {"aer_fez": 2}, wait=0)
        for number in range(2):
            task = LeaseTask("aer_fez", f"end-{number}", shots=512, usage=1.25, outcome="completed", ended=time.time())
            keeper.note_task(lease.id, task).result()
        keeper.node_done(lease.id, "n1")
        assert helper.journal.read(lease.id).state is LeaseState.RELEASED
        asyncio.run(look_until(lambda mine: mine.pending > 0))
        assert told == []
    expected = "qpu v=1 aer_fez.s=2.5 aer_fez.n=2 aer_fez.shots=1024"
    asyncio.run(look_until(lambda _: told == [expected]))  # the next gateway
    assert site.sacct(finished, "SystemComment") == expected
    asyncio.run(comments().look(accounting=True))
    rows = helper.journal.rows("SELECT told IS ended FROM leases WHERE id = ?", (lease.id,))
    assert rows == [(1,)]
    assert told == [expected]


@pytest.mark.slow
def test_usage_joins_what_slurm_and_the_gateway_know(site: AccountingSite, finished: int) -> None:
    account, seconds = ACCOUNTS[USERS[0]], int(site.sacct(finished, "ElapsedRaw"))
    python, path = python_for_everybody()
    munge, directory = str(site.cluster.places.socket("head")), site.cluster.places.directory / "gateway"
    directory.mkdir()
    gateway = Case(directory, munge, slurm_conf=str(site.cluster.slurm_conf))
    journal = SqliteJournal(directory / "journal.sqlite")
    tasks = [LeaseTask("aer_fez", f"t{n}", submitted=time.time(), shots=512, usage=1.25) for n in range(2)]
    lease(journal, finished, submitted(site, finished), *tasks)
    journal.close()
    client = directory / "client.json"
    client.write_text(json.dumps({"url": f"unix:{gateway.admin}", "munge_socket": munge}))
    environment = site.cluster.environment(QRMI_CLIENT_CONFIG=str(client), **path)

    def usage(*options: str, user: str | None) -> str:
        command = [python, "-P", "-c", COMMAND, "usage", "--since=1h", "--account", account, *options]
        done = site.cluster.run(command, user=user, environment=environment)
        assert done.stderr == ""
        return done.stdout

    expected = {
        "resource": "aer_fez", "user": USERS[0], "account": account, "jobs": 1, "tasks": 2,
        "lane_seconds": 2 * seconds, "device_seconds": 2.5, "shots": 1024,
    }  # fmt: skip
    with gateway.running():
        assert json.loads(usage("--json", user=USERS[0])) == [expected]
        everybody = list(csv.DictReader(usage("--csv", "--all", user=None).splitlines()))
        assert everybody == [{name: str(value) for name, value in expected.items()}]
        lines = [line.split() for line in usage("--user", USERS[0], user=None).splitlines()]
        assert lines[1] == ["aer_fez", USERS[0], account, "1", "2", str(2 * seconds), "2.5", "1024"]
