# SPDX-License-Identifier: Apache-2.0
"""What the plugin makes of a node's state files: environment, refusals, and nothing of a file that is not root's own.

There is no prolog in this cluster; each test writes the state files by hand.
"""

from __future__ import annotations

import os
import pty
import subprocess
import time

import pytest
from cluster import (
    LEASE,
    Jobs,
    all_idle,
    by_root,
    granted,
    next_job,
    node_states,
    refused,
    release,
    show,
    variables_of,
    write_state,
)

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster

LEASED = {
    "QRMI_JOB_QPU_RESOURCES": "ibm_fez",
    "QRMI_JOB_QPU_TYPES": "aer-simulator",
    "ibm_fez_QRMI_ENGINE_LANES": "2",
    "ibm_fez_QRMI_NOTE": "a value with = and % and 'quotes'",
}
WANTED = LEASED | {"QRMI_LEASE_ID": LEASE}
STALE = {
    "QRMI_JOB_QPU_RESOURCES": "old:older",
    "QRMI_LIST_DELIMITER": ":",
    "QRMI_JOB_QPU_TYPES": "x:y",
    "SLURM_JOB_QPU_RESOURCES": "oldest",
    "SLURM_JOB_QPU_TYPES": "z",
    "QRMI_PLUGIN_ERROR": "an error of another job",
    "QRMI_LEASE_ID": "f" * 32,
    "QRMI_JOB_ACQUISITION_TOKEN": "old",
    "old_QRMI_A": "1",
    "older_QRMI_B": "2",
    "oldest_QRMI_C": "3",
}


def held(jobs: Jobs, text: str, *options: str, script: str = "env", mode: int = 0o600, **variables: str) -> int:
    """A job that waits until it is released, with a state file."""
    job = jobs.submit("--hold", "--time=1", *options, script=script, **variables)
    write_state(jobs.cluster, job, text, mode=mode)
    return job


def ours(text: str) -> dict[str, str]:
    return {key: value for key, value in variables_of(text).items() if "QRMI_" in key or "_JOB_QPU_" in key}


def test_the_environment_reaches_script_and_steps_however_the_job_was_exported(jobs: Jobs) -> None:
    # --export=NIL leaves no PATH
    step = "/bin/sh -c '/usr/bin/env > step.$SLURM_JOB_ID.$SLURM_PROCID'"
    script = f"/usr/bin/env > batch.$SLURM_JOB_ID; /usr/bin/srun -N2 -n2 --export=ALL {step}"
    exports = ("ALL", "NONE", "NIL", "A=1")
    waiting = {
        held(
            jobs, granted(jobs.uid, LEASED), "--qpu=aer_fez", "-N2", "-n2", f"--export={export}", script=script
        ): export
        for export in exports
    }
    release(jobs.cluster, *waiting)
    for job, export in waiting.items():
        assert jobs.ended(job)["JobState"] == "COMPLETED", (export, jobs.output(job))
        for name in (f"batch.{job}", f"step.{job}.0", f"step.{job}.1"):
            assert ours((jobs.work / name).read_text()) == WANTED, (export, name)


def test_the_users_own_counts_before_a_default_and_what_is_to_be_absent_goes(jobs: Jobs) -> None:
    text = granted(jobs.uid, {"QRMI_JOB_QPU_RESOURCES": "a", "a_QRMI_X": "lease"})
    text += "default a_QRMI_KEY=site\ndefault a_QRMI_USER=site\nunset a_QRMI_URL\n"
    own = {"a_QRMI_KEY": "own", "a_QRMI_URL": "own", "a_QRMI_X": "own"}
    script = "env > batch.$SLURM_JOB_ID; export a_QRMI_USER=mine a_QRMI_URL=mine a_QRMI_X=mine; srun env"
    job = held(jobs, text, "--qpu=ibm_fez", script=script, **own)
    lease = "f" * 32
    nested = held(
        jobs, text.replace(LEASE, lease), "--qpu=ibm_fez", **own, QRMI_LEASE_ID=LEASE, QRMI_JOB_QPU_RESOURCES="a"
    )
    release(jobs.cluster, job, nested)
    assert {jobs.ended(each)["JobState"] for each in (job, nested)} == {"COMPLETED"}
    wanted = {"QRMI_LEASE_ID": LEASE, "QRMI_JOB_QPU_RESOURCES": "a", "a_QRMI_X": "lease"}
    assert ours((jobs.work / f"batch.{job}").read_text()) == wanted | {"a_QRMI_KEY": "own", "a_QRMI_USER": "site"}
    assert ours(jobs.output(job)) == wanted | {"a_QRMI_KEY": "own", "a_QRMI_USER": "mine"}
    of_site = {"QRMI_LEASE_ID": lease, "a_QRMI_KEY": "site", "a_QRMI_USER": "site"}
    assert ours(jobs.output(nested)) == wanted | of_site


def test_srun_alone_gets_it_too(jobs: Jobs) -> None:
    write_state(jobs.cluster, next_job(jobs.cluster), granted(jobs.uid, LEASED))
    done = jobs.srun("--qpu=ibm_fez", "env")
    assert done.returncode == 0, done.stderr
    assert ours(done.stdout) == WANTED


def test_each_task_of_an_array_gets_its_own(jobs: Jobs) -> None:
    first = next_job(jobs.cluster)
    for number in range(3):
        write_state(jobs.cluster, first + number, granted(jobs.uid, LEASED, lease=f"{number}" * 32))
    job = jobs.submit("--qpu=ibm_fez", "--array=0-2", "--time=1", script="echo $SLURM_JOB_ID $QRMI_LEASE_ID")
    assert polling.wait_until(lambda: not jobs.cluster.run(["squeue", "-h", "-j", str(job)]).stdout, timeout=40)
    told = [(jobs.work / f"{job}.{task}.out").read_text().split() for task in range(3)]
    assert {lease for _, lease in told} == {f"{number}" * 32 for number in range(3)}
    assert all(lease == f"{int(number) - first}" * 32 for number, lease in told)


def test_the_shell_of_salloc_has_it(jobs: Jobs) -> None:
    write_state(jobs.cluster, next_job(jobs.cluster), granted(jobs.uid, LEASED) + "vendor set QISKIT_IBM_TOKEN=t0ken\n")
    ours_end, its_end = pty.openpty()
    user = {} if jobs.user is None else {"user": jobs.user, "group": jobs.user, "extra_groups": []}
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", "salloc", "--qpu=ibm_fez", "--time=1"], stdin=its_end, stdout=its_end,
        stderr=its_end, cwd=jobs.work, env=jobs.cluster.environment(SHELL="/bin/sh"), **user,
    ) as shell:  # fmt: skip
        os.close(its_end)
        os.write(ours_end, b"env > interactive.txt; exit\n")
        screen = []
        try:
            while piece := os.read(ours_end, 4096):
                screen.append(piece)
        except OSError:  # the other end is closed
            pass
        assert shell.wait(30) == 0, b"".join(screen).decode()
    os.close(ours_end)
    seen = (jobs.work / "interactive.txt").read_text()
    notes = {"QRMI_VENDOR_VARIABLES", "QRMI_VENDOR_DIGESTS"}
    assert {name: value for name, value in ours(seen).items() if name not in notes} == WANTED
    assert variables_of(seen)["QISKIT_IBM_TOKEN"] == "t0ken"


def test_a_refusal_fails_the_job_with_its_reason_and_no_node(jobs: Jobs) -> None:
    reason = "ibm_fez is offline: 100% busy (%s)"
    job = held(jobs, refused(jobs.uid, reason), "--qpu=ibm_fez", script="echo ran")
    release(jobs.cluster, job)
    ended = jobs.ended(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0")
    assert f"error: no QPU for this job: {reason}\n" in jobs.output(job)
    assert "ran" not in jobs.output(job)
    write_state(jobs.cluster, next_job(jobs.cluster), refused(jobs.uid, reason))
    done = jobs.srun("--qpu=ibm_fez", "-n3", "echo", "ran")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count(f"error: no QPU for this job: {reason}\n") == 1
    assert all_idle(jobs.cluster), node_states(jobs.cluster)


def test_a_job_whose_prolog_left_nothing_is_refused(jobs: Jobs) -> None:
    done = jobs.srun("--qpu=ibm_fez", "echo", "ran")
    assert done.returncode == 1
    assert "holds no QPU: --qpu belongs to the submission of the job" in done.stderr
    assert "the prolog left nothing in" in done.stderr


def test_a_plugin_that_is_required_refuses_in_the_same_way(jobs: Jobs) -> None:
    cluster = jobs.cluster
    for node in cluster.nodes:
        node.plugstack.write_text(node.plugstack.read_text().replace("optional", "required"))
    try:
        write_state(cluster, next_job(cluster), refused(jobs.uid, "not now"))
        done = jobs.srun("--qpu=ibm_fez", "echo", "ran")
    finally:
        cluster.write()
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no QPU for this job: not now" in done.stderr
    assert all_idle(cluster)


def test_a_step_cannot_ask_for_another_qpu(jobs: Jobs) -> None:
    script = "srun --qpu=aer_fez true; echo $?; srun --qpu=ibm_fez echo same; srun echo none"
    job = held(jobs, granted(jobs.uid, LEASED), "--qpu=ibm_fez", script=script)
    plain = jobs.submit("--time=1", script="srun --qpu=ibm_fez echo ran")
    release(jobs.cluster, job)
    assert jobs.ended(job)["JobState"] == "COMPLETED"
    text = jobs.output(job)
    assert (
        "--qpu=aer_fez: this job was submitted with --qpu=ibm_fez, which all its steps use: leave --qpu out here"
        in text
    )
    told = [line for line in text.splitlines() if "step creat" not in line.lower()]  # the step before still ends
    assert told[-3:] == ["255", "same", "none"]
    assert jobs.ended(plain)["JobState"] == "FAILED"
    assert f"job {plain} holds no QPU: --qpu belongs to the submission of the job" in jobs.output(plain)


def test_only_the_leader_of_a_heterogeneous_job_has_it_and_the_others_run(jobs: Jobs) -> None:
    leader = next_job(jobs.cluster)
    write_state(jobs.cluster, leader, granted(jobs.uid, LEASED))
    for node in jobs.cluster.nodes[1:]:
        (node.state / str(leader)).unlink()
    script = (
        "env > het.batch; srun --het-group=0 env > het.0; srun --het-group=1 env > het.1;"
        " srun --het-group=0,1 -l sh -c 'echo $SLURM_PROCID' | sort > het.both"
    )
    job = jobs.submit("--qpu=ibm_fez", "-wn1", "-n1", ":", "-wn2", "-n1", script=script)
    assert job == leader
    assert jobs.ended(f"{leader}+0")["JobState"] == "COMPLETED", jobs.output(job)
    read = {name: (jobs.work / f"het.{name}").read_text() for name in ("batch", "0", "1", "both")}
    assert ours(read["batch"]) == ours(read["0"]) == WANTED, jobs.output(job)
    assert "QRMI_LEASE_ID" not in ours(read["1"])
    assert "QRMI_PLUGIN_ERROR" not in ours(read["1"])
    assert len(read["both"].splitlines()) == 2


def test_what_is_stale_goes_and_what_is_new_wins(jobs: Jobs) -> None:
    mine = {"PLAIN_QRMI_X": "kept", "other_QRMI_Y": "kept"}
    plain = jobs.submit("--hold", "--time=1", script="env", **STALE, **mine)
    leased = held(jobs, granted(jobs.uid, LEASED), "--qpu=ibm_fez", **STALE, **mine, ibm_fez_QRMI_ENGINE_LANES="9")
    release(jobs.cluster, plain, leased)
    jobs.ended(plain)
    assert ours(jobs.output(plain)) == mine
    jobs.ended(leased)
    assert ours(jobs.output(leased)) == WANTED | mine


def test_what_a_command_is_given_in_a_job_without_a_qpu_reaches_its_steps(jobs: Jobs) -> None:
    given = {
        "QRMI_JOB_QPU_RESOURCES": "aer_ideal",
        "QRMI_JOB_QPU_TYPES": "aer-simulator",
        "aer_ideal_QRMI_ENGINE_SEED": "3",
    }
    assert ours(jobs.srun("env", **given).stdout) == given
    assert ours(jobs.srun("env", QRMI_PLUGIN_ERROR="of another job").stdout) == {}


def test_a_nested_job_asks_anew_and_inherits_nothing(jobs: Jobs) -> None:
    nested = "sbatch --parsable --hold --time=1 -o %j.out --wrap env"
    job = held(jobs, granted(jobs.uid, LEASED), "--qpu=ibm_fez", script=nested)
    release(jobs.cluster, job)
    jobs.ended(job)
    inner = int(jobs.output(job).splitlines()[-1])
    assert show(jobs.cluster, inner)["Licenses"] == "qpu_ibm_fez:1"
    write_state(jobs.cluster, inner, granted(jobs.uid, {"QRMI_JOB_QPU_RESOURCES": "b"}, lease="b" * 32))
    release(jobs.cluster, inner)
    jobs.ended(inner)
    assert ours(jobs.output(inner)) == {"QRMI_JOB_QPU_RESOURCES": "b", "QRMI_LEASE_ID": "b" * 32}


def test_many_and_long_variables_arrive(jobs: Jobs) -> None:
    many = {f"ibm_fez_QRMI_V{number}": "x" * (number % 200) for number in range(3000)} | {
        "ibm_fez_QRMI_LONG": "y" * 90_000
    }
    script = "env | grep -c ^ibm_fez_QRMI_V; echo ${#ibm_fez_QRMI_LONG}"
    job = held(jobs, granted(jobs.uid, many), "--qpu=ibm_fez", script=script)
    release(jobs.cluster, job)
    assert jobs.ended(job)["JobState"] == "COMPLETED", jobs.output(job)
    assert jobs.output(job).split() == ["3000", "90000"]


def _bad_files(uid: int) -> dict[str, tuple[str, str]]:
    """Texts that are not to be trusted, and the words for it."""
    lease = f"lease {LEASE}\n"
    head = f"qrmi-state 1\nuid {uid}\n"
    return {
        "empty": ("", "cut short"),
        "no newline": (head + lease + "set A=b", "cut short"),
        "NUL": (head + lease + "set A=b\0c\n", "cut short, or no text"),
        "version": (head.replace("1", "2", 1) + lease, "not of version 1"),
        "user": (granted(uid + 1, LEASED), "another user"),
        "uid with more": (f"qrmi-state 1\nuid {uid}0\n{lease}", "another user"),
        "no lease": (head + "set A=b\n", "either a lease or a refusal"),
        "both": (head + lease + "refused x\n", "either a lease or a refusal"),
        "two leases": (head + lease + lease, "not understood"),
        "lease": (head + "lease xyz\n", "not understood"),
        "no name": (head + lease + "set =b\n", "not understood"),
        "name": (head + lease + "set A B=b\n", "not understood"),
        "no value": (head + lease + "set AB\n", "not understood"),
        "unknown": (head + lease + "remove A\n", "not understood"),
        "default without a value": (head + lease + "default A\n", "not understood"),
        "unset with a value": (head + lease + "unset A=b\n", "not understood"),
        "long value": (head + lease + f"set A={'x' * 100_001}\n", "not understood"),
        "large": (head + lease + "set A=b\n" * 140_000, "larger than 1 MB"),
    }


def test_a_file_that_is_wrong_counts_for_nothing(jobs: Jobs) -> None:
    """Those who asked are told; those who did not run as if there were none."""
    cases = _bad_files(jobs.uid)
    asking, silent = {}, {}
    for name, (text, _) in cases.items():
        asking[name] = held(jobs, text, "--qpu=aer_fez", script="echo ran")
        silent[name] = held(jobs, text)
    release(jobs.cluster, *asking.values(), *silent.values())
    for name, (_, words) in cases.items():
        assert jobs.ended(asking[name])["JobState"] == "FAILED", name
        text = jobs.output(asking[name])
        assert "is not to be trusted: " in text, name
        assert words in text, (name, text)
        assert "ran" not in text.splitlines()
        assert jobs.ended(silent[name])["JobState"] == "COMPLETED", name
        assert ours(jobs.output(silent[name])) == {}, name
    assert all_idle(jobs.cluster), node_states(jobs.cluster)


def test_a_file_that_others_could_have_made_counts_for_nothing(jobs: Jobs) -> None:
    text = granted(jobs.uid, LEASED)
    elsewhere = jobs.work / "planted"
    elsewhere.write_text(text)
    elsewhere.chmod(0o600)
    cases = {
        name: jobs.submit("--hold", "--time=1", "--qpu=aer_fez", script="echo ran")
        for name in (
            "readable",
            "writable",
            "link",
            "hard link",
            "fifo",
            "directory",
            *(["foreign"] if by_root() else []),
        )
    }
    for node in jobs.cluster.nodes:
        for name, job in cases.items():
            file = node.state / str(job)
            if name == "link":
                file.symlink_to(elsewhere)
            elif name == "hard link":
                file.hardlink_to(elsewhere)
            elif name == "fifo":
                os.mkfifo(file, 0o600)
            elif name == "directory":
                file.mkdir(mode=0o700)
            else:
                file.write_text(text)
                file.chmod({"readable": 0o644, "writable": 0o620}.get(name, 0o600))
                if name == "foreign":
                    os.chown(file, jobs.uid, -1)
    release(jobs.cluster, *cases.values())
    for name, job in cases.items():
        assert jobs.ended(job)["JobState"] == "FAILED", name
        assert "is not to be trusted: it " in jobs.output(job), name
    assert all_idle(jobs.cluster), node_states(jobs.cluster)


def test_a_directory_that_others_may_write_counts_for_nothing(jobs: Jobs) -> None:
    write_state(jobs.cluster, next_job(jobs.cluster), granted(jobs.uid, LEASED))
    for node in jobs.cluster.nodes:
        node.state.chmod(0o777)
    try:
        done = jobs.srun("--qpu=ibm_fez", "env")
    finally:
        for node in jobs.cluster.nodes:
            node.state.chmod(0o700)
    assert done.returncode == 1
    assert "others may write there" in done.stderr


def test_a_planted_file_cannot_be_made_by_a_user(jobs: Jobs) -> None:
    if not by_root():
        pytest.skip("whoever started the cluster owns the state directory")
    target = jobs.cluster.nodes[0].state / "1"
    assert jobs.run("touch", str(target)).returncode != 0
    assert jobs.run("ls", str(target.parent)).returncode != 0


def test_a_state_file_serves_its_own_user_only(jobs: Jobs, other: Jobs) -> None:
    write_state(jobs.cluster, next_job(jobs.cluster), granted(jobs.uid, LEASED))
    done = other.srun("--qpu=ibm_fez", "env")
    assert done.returncode == 1
    assert "it is of another user" in done.stderr
    assert LEASE not in done.stdout + done.stderr


def test_a_forged_option_gets_nothing(jobs: Jobs) -> None:
    done = jobs.srun("env", _SLURM_SPANK_OPTION_qrmi_qpu="ibm_fez", SLURM_SPANK_QPU="ibm_fez")
    assert done.returncode == 1
    assert "holds no QPU" in done.stderr
    assert show(jobs.cluster, next_job(jobs.cluster) - 1)["Licenses"] == "(null)"
    assert all_idle(jobs.cluster), node_states(jobs.cluster)


def test_no_value_of_the_environment_is_logged(bare: Cluster, jobs: Jobs) -> None:
    secret = f"s3cret-{time.time_ns()}"
    job = held(jobs, granted(jobs.uid, {"ibm_fez_QRMI_KEY": secret}), "--qpu=ibm_fez", script="true")
    broken = held(jobs, granted(jobs.uid, {"ibm_fez_QRMI_KEY": secret}) + "what\n", "--qpu=ibm_fez", script="true")
    release(bare, job, broken)
    jobs.ended(job)
    jobs.ended(broken)
    logs = [file for file in bare.places.log.iterdir() if secret in file.read_text(errors="replace")]
    assert logs == []
    assert secret not in jobs.output(broken)
