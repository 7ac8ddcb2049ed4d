# SPDX-License-Identifier: Apache-2.0
"""The private cluster itself: by root and by an ordinary user, ended by another process, and no process of others'."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import USERS, Jobs, by_root, make_users, why_not

from qrmi_core import polling
from qrmi_core.errors import ConfigurationError
from qrmi_core.slurm.cluster import Cluster
from qrmi_core.slurm.daemons import DaemonFailed, Service

ROOT = Path(__file__).parents[2]
QUICK = {"KillWait": "3"}
BY_A_USER = """
import sys
from pathlib import Path
from qrmi_core.slurm.cluster import Cluster
with Cluster(Path(sys.argv[1]), qpus={"a": 1}, prolog=False, options={"KillWait": "3"}) as cluster:
    for node in cluster.nodes:
        state = node.state / "1"
        state.write_text(f"qrmi-state 1\\nuid {sys.argv[2]}\\nlease {'0' * 32}\\nset a_QRMI_X=1\\n")
        state.chmod(0o600)
    print(cluster.run(["srun", "-N2", "--qpu=a", "sh", "-c", "id -un; echo $a_QRMI_X"]).stdout)
print(sorted(name for name, pid in cluster.status().items() if pid))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter."""
    if reason := why_not():
        pytest.skip(reason)
    make_users()
    directory = Path(tempfile.mkdtemp(prefix="qrmi-slurm-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_nodes_have_addresses_of_their_own_for_slurm_and_for_munge(bare: Cluster, jobs: Jobs) -> None:
    for node in bare.nodes:
        script = "munge -n --socket=${0} | unmunge --socket=${0}"
        done = jobs.srun("-w", node.name, "sh", "-c", script, str(bare.places.socket(node.name)))
        assert f"({node.address})" in done.stdout, done
        assert f"NodeAddr={node.address}" in bare.run(["scontrol", "show", "node", node.name]).stdout


def test_it_is_ended_by_another_process_services_included(place: Path) -> None:
    first = Cluster(place / "c", nodes=1, prolog=False, options=QUICK)
    first.start()
    first.add_service(Service("waiter", ["sleep", "600"], {"PATH": "/usr/bin"}, user="nobody" if by_root() else None))
    before = first.status()
    assert None not in before.values()
    first.start()
    assert first.status() == before
    second = Cluster(place / "c", nodes=1, prolog=False, services=[Service("waiter", ["sleep", "600"], {})])
    assert second.status() == before
    second.stop()
    assert set(first.status().values()) == {None}
    first.wipe()
    assert not (place / "c").exists()


def test_jobs_end_with_it(place: Path) -> None:
    with Cluster(place / "c", nodes=1, prolog=False, options=QUICK) as cluster:
        file = cluster.places.work / "pid"
        Jobs(cluster, USERS[0] if by_root() else None).submit(script=f"trap '' TERM; echo $$ > {file}; sleep 300")
        assert polling.wait_until(lambda: file.exists() and file.read_text().strip().isdigit(), timeout=20)
        script = Path(f"/proc/{file.read_text().strip()}")
        assert script.exists()
    assert polling.wait_until(lambda: not script.exists(), timeout=10)


def test_single_daemons_end_and_come_back(place: Path) -> None:
    with Cluster(place / "c", nodes=1, prolog=False, options=QUICK) as cluster:
        job = Jobs(cluster, USERS[0] if by_root() else None).submit("--hold")
        # slurmctld killed so early would forget the job
        for name, number in (
            ("slurmctld", signal.SIGTERM),
            ("slurmd-n1", signal.SIGKILL),
            ("munged-n1", signal.SIGKILL),
        ):
            cluster.daemons[name].signal(number)
            assert cluster.daemons[name].gone()
            cluster.start_daemons(name)
            assert cluster.status()[name] is not None
        cluster.wait_until_up()
        assert str(job) in cluster.run(["squeue", "-h", "-o", "%i"]).stdout


def test_a_stale_pid_file_ends_nobody_else(place: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            cluster = Cluster(place / "c", nodes=1, prolog=False)
            cluster.write()
            for daemon in cluster.daemons.values():
                daemon.pid_file.write_text(f"{bystander.pid}\n")
            (cluster.places.run / "service-x.pid").write_text(f"{bystander.pid} 1\n")
            cluster.services.append(Service("x", ["true"], {}))
            assert set(cluster.status().values()) == {None}
            cluster.stop()
            assert not polling.wait_until(lambda: bystander.poll() is not None, timeout=0.2)
        finally:
            bystander.kill()


def test_a_daemon_that_does_not_start_says_why_and_leaves_nothing(place: Path) -> None:
    cluster = Cluster(place / "c", nodes=1, prolog=False, options={"SlurmUser": "nobody-of-this-name"})
    with pytest.raises(DaemonFailed, match=r"slurmctld did not start .*nobody-of-this-name"):
        cluster.start()
    assert set(cluster.status().values()) == {None}


def test_a_place_that_does_not_do_is_named(place: Path) -> None:
    with pytest.raises(ConfigurationError, match="too long a path for munge's sockets"):
        Cluster(place / ("x" * 100), prolog=False).start()
    if by_root():
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(ConfigurationError, match=f"users cannot enter {closed}"):
            Cluster(closed / "c", prolog=False).start()
        foreign = place / "foreign"
        foreign.mkdir()
        os.chown(foreign, pwd.getpwnam(USERS[0]).pw_uid, -1)
        with pytest.raises(ConfigurationError, match="belongs to somebody else"):
            Cluster(foreign, prolog=False).start()


@pytest.mark.skipif(not by_root(), reason="all other tests show it where root does not run them")
def test_an_ordinary_user_can_have_one(place: Path) -> None:
    """With the system's Python and a copy of the code: root's own may be where others cannot go."""
    python = "/usr/bin/python3"
    for name in ("qrmi_core", "slurm"):
        shutil.copytree(ROOT / name, place / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    own = place / "own"
    own.mkdir()
    user = pwd.getpwnam(USERS[0])
    os.chown(own, user.pw_uid, user.pw_gid)
    done = subprocess.run(
        [python, "-c", BY_A_USER, own / "c", str(user.pw_uid)], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        cwd=own, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "code"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted([user.pw_name, "1", user.pw_name, "1", "[]"])
