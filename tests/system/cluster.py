# SPDX-License-Identifier: Apache-2.0
"""Jobs on a private cluster, as a test submits and watches them."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster, missing_programs

USERS = ("qrmi_a", "qrmi_b")
LEASE = "0123456789abcdef" * 2
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


def why_not() -> str | None:
    """Why no cluster can be started here, None where one can."""
    missing = missing_programs()
    if missing:
        return f"no Slurm here ({', '.join(missing)} missing): `make install` as root installs it"
    return None


def by_root() -> bool:
    return os.geteuid() == 0


def make_users() -> None:
    """As root, two ordinary users to run jobs as; otherwise there is only this one."""
    for user in USERS if by_root() else ():
        try:
            pwd.getpwnam(user)
        except KeyError:
            # another worker may be at it
            subprocess.run(
                ["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", user], check=False, timeout=30
            )
            polling.wait_until(lambda user=user: user in {each.pw_name for each in pwd.getpwall()}, timeout=20)


class Jobs:
    """What one user does on a cluster; ``user`` is None for whoever runs the tests."""

    def __init__(self, cluster: Cluster, user: str | None) -> None:
        self.cluster = cluster
        self.user = user
        self.uid = os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
        self.work = cluster.places.work

    def run(self, *command: str, timeout: float = 30.0, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = self.cluster.environment(**variables)
        return self.cluster.run(command, user=self.user, timeout=timeout, check=False, environment=environment)

    def submit(self, *options: str, script: str = "true", **variables: str) -> int:
        """Submit a batch job; its output goes to :meth:`output`."""
        done = self.sbatch(*options, script=script, **variables)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.strip().split(";")[0])

    def sbatch(self, *options: str, script: str = "true", **variables: str) -> subprocess.CompletedProcess[str]:
        where = ["-D", str(self.work), "-o", f"{self.work}/%A.%a.out" if _is_array(options) else f"{self.work}/%j.out"]
        return self.run("sbatch", "--parsable", *where, *options, "--wrap", script, **variables)

    def srun(self, *options: str, timeout: float = 30.0, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("srun", *options, timeout=timeout, **variables)

    def output(self, job: int | str) -> str:
        return (self.work / f"{job}.out").read_text()

    def ended(self, job: int | str, *, timeout: float = 40.0) -> dict[str, str]:
        """Wait for a job's end; what Slurm says of it then."""
        assert polling.wait_until(lambda: show(self.cluster, job)["JobState"] in ENDED, timeout=timeout), show(
            self.cluster, job
        )
        return show(self.cluster, job)


def _is_array(options: tuple[str, ...]) -> bool:
    return any(option.startswith("--array") for option in options)


def show(cluster: Cluster, job: int | str) -> dict[str, str]:
    """What ``scontrol show job`` says, by key."""
    said = cluster.run(["scontrol", "show", "job", "-o", str(job)], timeout=10).stdout
    return dict(re.findall(r"(\w+)=(\S*)", said.splitlines()[0]))


def next_job(cluster: Cluster) -> int:
    """The id that the next job will have."""
    said = cluster.run(["scontrol", "show", "config"], timeout=10).stdout
    found = re.search(r"NEXT_JOB_ID\s*=\s*(\d+)", said)
    assert found is not None
    return int(found[1])


def node_states(cluster: Cluster) -> set[str]:
    return set(cluster.run(["sinfo", "-h", "-N", "-o", "%T"], timeout=10).stdout.split())


def all_idle(cluster: Cluster) -> bool:
    """Wait until no job is left; whether all nodes are well."""
    return polling.wait_until(lambda: node_states(cluster) == {"idle"}, timeout=20)


def granted(uid: int, variables: Mapping[str, str] | None = None, lease: str = LEASE) -> str:
    """A state file as the prolog writes it."""
    lines = [
        "qrmi-state 1",
        f"uid {uid}",
        f"lease {lease}",
        *(f"set {k}={v}" for k, v in (variables or {}).items()),
        "",
    ]
    return "\n".join(lines)


def refused(uid: int, reason: str) -> str:
    return f"qrmi-state 1\nuid {uid}\nrefused {reason}\n"


def write_state(cluster: Cluster, job: int, text: str, *, mode: int = 0o600) -> list[Path]:
    """Leave a state file on every node."""
    files = [node.state / str(job) for node in cluster.nodes]
    for file in files:
        file.write_text(text)
        file.chmod(mode)
    return files


def release(cluster: Cluster, *jobs: int) -> None:
    cluster.run(["scontrol", "release", ",".join(map(str, jobs))], timeout=10)


def variables_of(text: str) -> dict[str, str]:
    """The output of ``env``."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def quoted(*words: str) -> str:
    return shlex.join(words)
