# SPDX-License-Identifier: Apache-2.0
"""What the administrator guide tells to paste does what it says, on a private cluster. Real Slurm."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import make_users, why_not
from qpu_site import QpuSite, SiteJobs, start_site

from qrmi_core import polling

GUIDE = (Path(__file__).parents[2] / "docs" / "administrator-guide.md").read_text()
RESOURCES = [{"name": "aer_ideal", "type": "aer-simulator", "lanes": 2, "environment": {}}]


@pytest.fixture(scope="module")
def running() -> Iterator[QpuSite]:
    if reason := why_not():
        pytest.skip(reason)
    make_users()
    with start_site(RESOURCES) as site:
        yield site


def pasted(pattern: str) -> str:
    found = re.search(pattern, GUIDE, re.DOTALL)
    assert found is not None, pattern
    return found[1]


def test_a_trial_on_one_partition_lets_qpus_through_there_only(running: QpuSite) -> None:
    etc, jobs = running.cluster.places.etc, running.jobs()
    script = etc / "job_submit.lua"
    ours = script.read_text()
    trial = pasted(r"cat > /etc/slurm/job_submit\.lua <<'EOF'\n(.*?)\nEOF\n").replace("/etc/slurm", str(etc))
    (etc / "qrmi_job_submit.lua").write_text(ours)

    def with_qpu() -> str:
        done = jobs.run("srun", "--qpu=aer_ideal", "-p", "main", "true")
        return done.stderr if done.returncode else "runs"

    def written(text: str, said: str) -> bool:
        """Whether slurmctld reads it; it sees a change by the file's time, in whole seconds."""
        script.write_text(text)
        return polling.wait_until(lambda: said in with_qpu() or _touched(script), timeout=20)

    try:
        assert written(trial, "--qpu is on trial in the partition quantum: add -p quantum")
        assert jobs.run("srun", "true").returncode == 0
        assert written(trial.replace("quantum", "main"), "runs")
    finally:
        script.write_text(ours)
        polling.wait_until(lambda: "trial" not in _submitted_elsewhere(jobs) or _touched(script), timeout=20)


def _submitted_elsewhere(jobs: SiteJobs) -> str:
    """What the trial says of a job in no partition, if it is still on."""
    return str(jobs.run("srun", "--qpu=aer_ideal", "true").stderr)


def _touched(file: Path) -> bool:
    """Make the file newer by a second; always False."""
    seconds = file.stat().st_mtime + 1
    os.utime(file, (seconds, seconds))
    return False


def test_the_journal_is_copied_while_the_gateway_runs(running: QpuSite, tmp_path: Path) -> None:
    job = running.jobs().submit("--qpu=aer_ideal", script="sleep 60")
    try:
        assert polling.wait_until(lambda: bool(running.live_leases()), timeout=20)
        program = pasted(r'/opt/qrmi/bin/python -c "\n(.*?)"\n```')
        program = program.replace("/var/lib/qrmi-gateway/backup.sqlite", str(tmp_path / "backup.sqlite"))
        program = program.replace("/var/lib/qrmi-gateway", str(running.site.state_dir))
        running.cluster.run([running.site.python, "-c", program], timeout=30, environment=running.site.environment())
        with contextlib.closing(sqlite3.connect(tmp_path / "backup.sqlite")) as copy:
            tables = [name for (name,) in copy.execute("select name from sqlite_master where type = 'table'")]
            rows = sum(copy.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)
        assert rows > 0
    finally:
        running.cluster.run(["scancel", str(job)], timeout=20)


def test_who_must_see_a_lease_go_sees_it_go(running: QpuSite) -> None:
    """The commands of a day: take a QPU out of service and back, and away from a job."""
    job = running.jobs().submit("--qpu=aer_ideal", script="sleep 60")
    try:
        assert polling.wait_until(lambda: str(job) in {lease["job"] for lease in running.live_leases()}, timeout=20)
        running.qrmi("maintenance", "aer_ideal", "--on", "recabling until 14:00")
        assert "maintenance" in running.qrmi("qpus")
        assert "given back" in running.qrmi("release", str(job))
        assert str(job) not in {lease["job"] for lease in running.leases()}
    finally:
        running.qrmi("maintenance", "aer_ideal", "--off")
        running.cluster.run(["scancel", str(job)], timeout=20)
