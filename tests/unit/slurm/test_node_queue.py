# SPDX-License-Identifier: Apache-2.0
"""Which jobs a prolog puts back into the queue, under which name and for how long.

Slurm's commands are scripts here that keep what they were told: the tests of the whole system run the same lines
against slurmctld.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from munge_daemon import Munged
from node_case import QPU_JOB, Answer, Gateway, Node, refused

BATCH = "42|42|N/A|RUNNING|1|1|0|99|"


def put_back(
    tmp_path: Path, daemon: Munged, listed: str, *, answer: Answer | None = None, squeue: int = 0, fails: str = "none",
    config: str = "AuthInfo                = socket=/run/munge.socket.2,cred_expire=20",
) -> Queue:  # fmt: skip
    """Let the prolog of job 42 be refused while squeue lists this, and one verb of scontrol fails."""
    queue = Queue(tmp_path)
    queue.script("squeue", f"cat <<'END'\n{listed}\nEND", squeue)
    queue.script(
        "scontrol",
        f'[ "$1" = show ] && echo "{config}"; [ "$1" = "{fails}" ] && echo "scontrol: error: busy" && exit 1',
        0,
    )
    node = Node(tmp_path, daemon.socket)
    for_now = answer or refused("the vendor does not answer", transient=True)
    with Gateway(daemon.socket, for_now).serving() as gateway:
        node.configure(gateway.url, bin=str(queue.bin), slurm_conf="/etc/slurm/our.conf", holdoff=30)
        done = node.run("qrmi-prolog", {**QPU_JOB, "SQUEUE_FORMAT": "%i", "SECRET": "s3cret"})
    assert done.code == 0
    assert node.state()[2].startswith("refused ")
    queue.log = done.log
    return queue


class Queue:
    def __init__(self, directory: Path) -> None:
        self.bin = directory / "slurm-bin"
        self.bin.mkdir()
        self._calls = directory / "calls"
        self.log = ""

    def script(self, name: str, text: str, code: int) -> None:
        file = self.bin / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._calls}\nenv >{self._calls}.env\n{text}\nexit {code}\n')
        file.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()

    @property
    def changes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith(("squeue ", "scontrol show "))]

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in Path(f"{self._calls}.env").read_text().splitlines())


def test_a_batch_job_starts_again_later(tmp_path: Path, daemon: Munged) -> None:
    queue = put_back(tmp_path, daemon, BATCH)
    fields = "JobID:|,ArrayJobID:|,ArrayTaskID:|,State:|,BatchFlag:|,Requeue:|,RestartCnt:|,PriorityLong:|"
    assert queue.calls == [
        f"squeue -h -a -j 42 -O {fields}",
        "scontrol show config",
        "scontrol hold 42",
        "scontrol requeue 42",
        "scontrol update JobId=42 StartTime=now+30",
        "scontrol release 42",
    ]
    assert queue.log.endswith("refused: the vendor does not answer; put back into the queue for 30 s\n")
    assert {name for name in queue.environment if name not in {"PWD", "OLDPWD", "SHLVL", "_"}} == {
        "LC_ALL",
        "SLURM_CONF",
    }
    assert queue.environment["SLURM_CONF"] == "/etc/slurm/our.conf"


def test_an_arrays_task_is_never_called_by_a_raw_id(tmp_path: Path, daemon: Munged) -> None:
    # Job 42 is the last task to start, which has the array's own id.
    listed = "43|42|0|RUNNING|1|1|3|99|\n42|42|7|RUNNING|1|1|0|99|\n44|42|1|COMPLETED|1|1|0|99|"
    queue = put_back(tmp_path, daemon, listed)
    assert queue.changes == [
        *("scontrol hold 42_7", "scontrol requeue 42_7"),
        *("scontrol update JobId=42_7 StartTime=now+30", "scontrol release 42_7"),
    ]


@pytest.mark.parametrize(("restarts", "delay"), [(1, 60), (2, 120), (4, 480), (5, 600), (4_000_000, 600)])
def test_it_waits_longer_each_time(tmp_path: Path, daemon: Munged, restarts: int, delay: int) -> None:
    queue = put_back(tmp_path, daemon, f"42|42|N/A|RUNNING|1|1|{restarts}|99|")
    assert queue.changes[2] == f"scontrol update JobId=42 StartTime=now+{delay}"


@pytest.mark.parametrize(
    ("config", "delay"),
    [("AuthInfo = cred_expire=240,socket=/x", 246), ("AuthInfo = (null)", 126), ("AuthInfo = cred_expire=300\n", 306),
     ("Other = cred_expire=300", 126), ("AuthInfo = cred_expire=7", 30)],
)  # fmt: skip
def test_it_waits_until_slurmd_has_forgotten_the_last_start(
    tmp_path: Path, daemon: Munged, config: str, delay: int
) -> None:
    queue = put_back(tmp_path, daemon, BATCH, config=config)
    assert queue.changes[2] == f"scontrol update JobId=42 StartTime=now+{delay}"


@pytest.mark.parametrize(
    ("requeue", "delay"),
    [({"id": "42", "delay": 77}, 77), ({"id": "42", "delay": "9; reboot"}, 30), ({"delay": True}, 30),
     ({"delay": 0}, 30), ({"delay": -5}, 30), ({"delay": 1e99}, 30), ("now", 30)],
)  # fmt: skip
def test_the_gateway_may_say_when(tmp_path: Path, daemon: Munged, requeue: object, delay: int) -> None:
    answer = refused("offline", transient=True, requeue=requeue)
    queue = put_back(tmp_path, daemon, BATCH, answer=answer)
    assert queue.changes[2] == f"scontrol update JobId=42 StartTime=now+{delay}"


def test_the_name_of_the_job_is_not_the_gateways_to_choose(tmp_path: Path, daemon: Munged) -> None:
    answer = refused("offline", transient=True, requeue={"id": "99", "delay": 5})
    assert put_back(tmp_path, daemon, BATCH, answer=answer).changes[1] == "scontrol requeue 42"


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("42|42|N/A|PENDING|1|1|1|99|", "it is in the queue again"),
        ("42|42|N/A|COMPLETING|1|1|0|99|", "not put back into the queue: it is completing"),
        ("42|42|N/A|CANCELLED|1|1|0|99|", "not put back into the queue: it is cancelled"),
        ("42|42|N/A|RUNNING|0|1|0|99|", "Slurm may requeue batch jobs only"),
        ("42|42|N/A|RUNNING|1|0|0|99|", "none with --no-requeue"),
        ("43|42|1|RUNNING|1|1|0|99|", "it is not listed by slurmctld"),
        ("", "it is not listed by slurmctld"),
        ("42|42", "it is not listed by slurmctld"),
    ],
)
def test_other_jobs_are_left_alone(tmp_path: Path, daemon: Munged, listed: str, why: str) -> None:
    queue = put_back(tmp_path, daemon, listed)
    assert queue.changes == []
    assert why in queue.log


def test_a_final_refusal_asks_slurm_nothing(tmp_path: Path, daemon: Munged) -> None:
    queue = put_back(tmp_path, daemon, BATCH, answer=refused("not allowed", transient=False))
    assert not (tmp_path / "calls").exists()
    assert "; for good" in queue.log


def test_without_slurmctld_the_reason_stays(tmp_path: Path, daemon: Munged) -> None:
    queue = put_back(tmp_path, daemon, "slurm_load_jobs error: Unable to contact slurm controller", squeue=1)
    assert queue.changes == []
    assert "not put back into the queue as it should be: slurm_load_jobs error: Unable to contact" in queue.log


@pytest.mark.parametrize(("verb", "changes"), [("hold", 1), ("requeue", 3), ("update", 4), ("release", 4)])
def test_what_slurm_refuses_is_told(tmp_path: Path, daemon: Munged, verb: str, changes: int) -> None:
    queue = put_back(tmp_path, daemon, BATCH, fails=verb)
    assert len(queue.changes) == changes
    assert "not put back into the queue as it should be: scontrol: error: busy" in queue.log


def test_who_holds_a_job_is_left_his_hold(tmp_path: Path, daemon: Munged) -> None:
    queue = put_back(tmp_path, daemon, "42|42|N/A|RUNNING|1|1|0|0|")
    assert queue.changes == ["scontrol requeue 42", "scontrol update JobId=42 StartTime=now+30"]
