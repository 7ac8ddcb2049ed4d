# SPDX-License-Identifier: Apache-2.0
"""Usage without a cluster: tasks and holding times joined, what a job's line says, and sacct without slurmdbd."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmi_core.gateway.root_helper.verbs import _COMMENT, LONGEST_TEXT
from qrmi_core.slurm.accounting import AccountingUnavailable, Holding, holdings
from qrmi_core.usage import ResourceUsage, Usage, joined, system_comment

figures = st.none() | st.floats() | st.floats(0, 1e6)
usages = st.lists(
    st.builds(ResourceUsage, st.text(max_size=45), st.integers(), figures, st.none() | st.integers()), max_size=15
)


def task(job: int, resource: str, **more: Any) -> dict[str, Any]:
    """A task as the gateway tells it."""
    told = {"job_id": job, "uid": 1000, "user": "anna", "account": "phys", "resource": resource, "shots": None}
    return {**told, "usage_seconds": None, **more}


def sacct(directory: Path, script: str) -> None:
    """A sacct that does this, the first in PATH."""
    (directory / "sacct").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "sacct").chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose programs come first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_jobs_line_tells_each_resource() -> None:
    told = system_comment([ResourceUsage("IBM_fez", 3, 12.5, 4000), ResourceUsage("orion", 1, 0.0004, None)])
    assert told == "qpu v=1 ibm_fez.s=12.5 ibm_fez.n=3 ibm_fez.shots=4000 orion.s=0 orion.n=1"
    assert system_comment([ResourceUsage("aer")]) == "qpu v=1 aer.n=0"
    assert system_comment([]) == "qpu v=1"


def test_what_does_not_fit_into_a_jobs_line_is_counted() -> None:
    told = system_comment([ResourceUsage(f"resource_with_a_long_name_{n}", n, 1.5 * n, n) for n in range(200)])
    shown = set(re.findall(r"resource_with_a_long_name_\d+", told))
    assert 0 < len(shown) < 200
    assert told.endswith(f" more={200 - len(shown)}")


@settings(max_examples=60)
@given(usages)
def test_the_root_helper_takes_any_line(asked: list[ResourceUsage]) -> None:
    told = system_comment(asked)
    assert len(told) <= LONGEST_TEXT
    assert _COMMENT.fullmatch(told)
    assert told == told.lower()


@given(st.floats(0, 1e9), st.integers(0, 10**12))
def test_figures_are_told_to_the_millisecond(seconds: float, shots: int) -> None:
    told = dict(re.findall(r"(\S+)=(\S+)", system_comment([ResourceUsage("a", 1, seconds, shots)])))
    assert math.isclose(float(told["a.s"]), seconds, abs_tol=0.00051)
    assert told["a.shots"] == str(shots)


def test_tasks_and_holding_times_are_joined() -> None:
    tasks = [
        task(1, "Fez", shots=100, usage_seconds=1.5),
        task(1, "Fez", shots=20, usage_seconds=None),
        task(2, "Fez"),
        task(3, "aer", user="", account="chem", shots=5),
    ]
    held = [
        Holding("qpu_fez", 1, "anna", "phys", 1, 60),
        Holding("qpu_fez", 4, "anna", "phys", 2, 10),
        Holding("qpu_fresnel", 5, "berta", "phys", 1, 7),
    ]
    assert joined(tasks, held, ["FRESNEL", "aer"]) == [
        Usage("aer", "1000", "chem", 1, 0, None, 5, {3}),
        Usage("Fez", "anna", "phys", 3, 80, 1.5, 120, {1, 2, 4}),
        Usage("FRESNEL", "berta", "phys", 0, 7, None, None, {5}),
    ]


def test_without_accounting_lane_seconds_are_not_known() -> None:
    (only,) = joined([task(1, "Fez", shots=1)], None)
    assert (only.lane_seconds, only.jobs, only.tasks, only.shots) == (None, 1, 1, 1)
    assert joined([], []) == joined([], None) == []


def test_sacct_is_read_without_what_is_no_qpu(commands: Path) -> None:
    lines = [
        "7|anna|phys|60|billing=2,cpu=2,license/matlab=1,license/qpu_a=1,license/qpu_b=3,node=1",
        "8|anna|phys|0|",
        "9|berta||5|cpu=1",
    ]
    sacct(commands, f"""echo "$@" > {commands}/asked; printf '%s\\n' {" ".join(f"'{line}'" for line in lines)}""")
    expected = [Holding("qpu_a", 7, "anna", "phys", 1, 60), Holding("qpu_b", 7, "anna", "phys", 3, 60)]
    assert holdings(1_700_000_000.9) == expected
    assert expected[1].lane_seconds == 180
    asked = (commands / "asked").read_text().split()
    assert "--starttime=uts1700000000" in asked
    assert "--allusers" in asked
    holdings(0, user="anna", account="phys")
    asked = (commands / "asked").read_text().split()
    assert {"--user=anna", "--accounts=phys"} <= set(asked)
    assert "--allusers" not in asked


@pytest.mark.parametrize("line", ["7|anna|phys|60", "x|anna|phys|60|license/qpu_a=1", "7|a|p|6|license/qpu_a=many"])
def test_an_answer_of_another_form_is_said(commands: Path, line: str) -> None:
    sacct(commands, f"echo '{line}'")
    with pytest.raises(AccountingUnavailable, match="sacct's answer is not understood"):
        holdings(0)


def test_a_sacct_that_fails_is_said(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sacct(commands, "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    with pytest.raises(AccountingUnavailable, match=r"does not answer: sacct: error: Problem talking") as caught:
        holdings(0)
    assert caught.value.transient
    (commands / "sacct").write_text("no program")
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(AccountingUnavailable, match="sacct cannot be run: Exec format error"):
        holdings(0)


def test_a_host_without_slurm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AccountingUnavailable, match="sacct is not installed here") as caught:
        holdings(0)
    assert not caught.value.transient


def test_a_cluster_without_slurmdbd_is_said(tmp_path: Path) -> None:
    if shutil.which("sacct") is None:
        pytest.skip("no Slurm here: `make install` as root installs it")
    conf = tmp_path / "slurm.conf"
    text = "ClusterName=none\nSlurmctldHost=localhost\nAccountingStorageType=accounting_storage/none\n"
    conf.write_text(f"{text}NodeName=n1\nPartitionName=main Nodes=n1\n")
    with pytest.raises(AccountingUnavailable, match=r"this cluster has no accounting \(slurmdbd\)") as caught:
        holdings(0, slurm_conf=conf)
    assert not caught.value.transient
