# SPDX-License-Identifier: Apache-2.0
"""What the plugin sets for vendors' own clients, on real Slurm: --qpu-env, the user's own values, and nothing stale.

There is no prolog in this cluster; each test writes the state files by hand.
"""

from __future__ import annotations

import time

import pytest
from cluster import LEASE, Jobs, granted, next_job, release, variables_of, write_state

from qrmi_core import polling

HOOK, BUNDLE, HOST = "/opt/qrmi/hook", "/etc/qrmi/bundle.pem", "head.example"
SET = {"QISKIT_IBM_TOKEN": "t0ken = x", "IAM_URL": "https://head.example:7812"}
GIVEN = SET | {"SSL_CERT_FILE": BUNDLE, "NO_PROXY": HOST, "no_proxy": HOST}
LEASED = {"QRMI_JOB_QPU_RESOURCES": "a", "a_QRMI_X": "1"}
WATCHED = {*GIVEN, "PYTHONPATH", "QRMI_LEASE_ID", "a_QRMI_X", "QRMI_VENDOR_VARIABLES", "QRMI_VENDOR_DIGESTS"}
NOTES = {"QRMI_VENDOR_VARIABLES", "QRMI_VENDOR_DIGESTS"}
OWN = {"QRMI_LEASE_ID": LEASE, "a_QRMI_X": "1"}


@pytest.fixture(autouse=True)
def _none_of_these_is_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WATCHED:
        monkeypatch.delenv(name, raising=False)


def state(jobs: Jobs, *more: str, lease: str = LEASE) -> str:
    """A state file with something for each use."""
    lines = [
        *(f"vendor set {name}={value}" for name, value in SET.items()),
        f"vendor extend NO_PROXY={HOST}", f"vendor extend no_proxy={HOST}", f"vendor extend PYTHONPATH={HOOK}",
        f"vendor default SSL_CERT_FILE={BUNDLE}", *more, "",
    ]  # fmt: skip
    return granted(jobs.uid, LEASED, lease) + "\n".join(lines)


def held(jobs: Jobs, *options: str, script: str = "env", more: tuple[str, ...] = (), **variables: str) -> int:
    job = jobs.submit("--hold", "--time=1", "--qpu=ibm_fez", *options, script=script, **variables)
    write_state(jobs.cluster, job, state(jobs, *more))
    return job


def completed(jobs: Jobs, *ids: int) -> None:
    release(jobs.cluster, *ids)
    for job in ids:
        assert jobs.ended(job)["JobState"] == "COMPLETED", jobs.output(job)


def seen(text: str) -> dict[str, str]:
    """What is there of what this is about, but not how it was noted."""
    return {name: value for name, value in variables_of(text).items() if name in WATCHED - NOTES}


def noted(text: str) -> set[str]:
    return set(filter(None, variables_of(text).get("QRMI_VENDOR_VARIABLES", "").split(",")))


def test_scripts_and_steps_have_them_however_the_job_was_exported(jobs: Jobs) -> None:
    step = "/bin/sh -c '/usr/bin/env > step.$SLURM_JOB_ID.$SLURM_PROCID'"
    script = f"/usr/bin/env > batch.$SLURM_JOB_ID; /usr/bin/srun -N2 -n2 --export=ALL {step}"
    waiting = {held(jobs, "-N2", "-n2", f"--export={export}", script=script): export for export in ("ALL", "NONE")}
    completed(jobs, *waiting)
    for job, export in waiting.items():
        for name in (f"batch.{job}", f"step.{job}.0", f"step.{job}.1"):
            text = (jobs.work / name).read_text()
            assert seen(text) == OWN | GIVEN, (export, name)
            assert noted(text) == set(GIVEN), (export, name)


@pytest.mark.slow
def test_off_leaves_them_out_however_the_job_was_exported(jobs: Jobs) -> None:
    """The prolog's line stands for the option, which the steps of such a job do not see."""
    script = "/usr/bin/env; /usr/bin/srun --export=ALL /usr/bin/env > step.$SLURM_JOB_ID"
    told = held(jobs, "--qpu-env=off", "--export=ALL", script=script)
    kept = held(jobs, "--qpu-env=off", "--export=NONE", script=script, more=("qpu-env off",))
    completed(jobs, told, kept)
    for job in (told, kept):
        for text in (jobs.output(job), (jobs.work / f"step.{job}").read_text()):
            assert seen(text) == OWN, job
            assert noted(text) == set()


@pytest.mark.slow
def test_a_step_chooses_for_itself(jobs: Jobs) -> None:
    script = "srun --qpu-env=off env > off.{}; srun env > plain.{}; env > batch.{}"
    mine = {"NO_PROXY": "mine", "no_proxy": "mine,too"}
    on = held(jobs, script=script.format(*["on"] * 3), **mine)
    off = held(
        jobs,
        "--qpu-env=off",
        more=("qpu-env off",),
        script="srun --qpu-env=on env > on.off; srun env > plain.off",
        **mine,
    )
    completed(jobs, on, off)
    read = {name: (jobs.work / name).read_text() for name in ("off.on", "plain.on", "batch.on", "on.off", "plain.off")}
    given = GIVEN | {"NO_PROXY": f"mine,{HOST}", "no_proxy": f"mine,too,{HOST}"}
    for name in ("plain.on", "batch.on", "on.off"):
        assert seen(read[name]) == OWN | given, name
        assert noted(read[name]) == {*SET, "SSL_CERT_FILE"}
    for name in ("off.on", "plain.off"):
        assert seen(read[name]) == OWN | mine, name


@pytest.mark.slow
def test_srun_and_salloc_and_a_value_that_is_none(jobs: Jobs) -> None:
    for command in (("srun",), ("salloc", "srun")):
        for options, wanted in ((("--qpu=ibm_fez",), OWN | GIVEN), (("--qpu=ibm_fez", "--qpu-env=off"), OWN)):
            write_state(jobs.cluster, next_job(jobs.cluster), state(jobs))
            done = jobs.run(command[0], *options, *command[1:], "env")
            assert done.returncode == 0, done.stderr
            assert seen(done.stdout) == wanted, (command, options)
    done = jobs.srun("--qpu-env=no", "env")
    assert done.returncode != 0
    assert "--qpu-env=no: expected --qpu-env=on or --qpu-env=off" in done.stderr


def test_lists_and_certificates_of_the_user_stay(jobs: Jobs) -> None:
    cases = {
        "all": ({"NO_PROXY": "*", "no_proxy": "*"}, {"NO_PROXY": "*", "no_proxy": "*"}),
        "there": ({"NO_PROXY": f"a, {HOST} ,b"}, {"NO_PROXY": f"a, {HOST} ,b", "no_proxy": f"a, {HOST} ,b"}),
        "one": ({"NO_PROXY": "a"}, {"NO_PROXY": f"a,{HOST}", "no_proxy": f"a,{HOST}"}),
        "like it": ({"no_proxy": f"x{HOST}"}, {"NO_PROXY": f"x{HOST},{HOST}", "no_proxy": f"x{HOST},{HOST}"}),
        "own": ({"SSL_CERT_FILE": "mine"}, {"SSL_CERT_FILE": "mine"}),
        "hook": ({"QRMI_PASQAL_HOOK": "1", "PYTHONPATH": "/a:/b"}, {"PYTHONPATH": f"{HOOK}:/a:/b"}),
        "only hook": ({"QRMI_PASQAL_HOOK": "1", "PYTHONPATH": ""}, {"PYTHONPATH": HOOK}),
        "no hook": ({"QRMI_PASQAL_HOOK": "0", "PYTHONPATH": "/a"}, {"PYTHONPATH": "/a"}),
    }
    script = "env; srun env > step.$SLURM_JOB_ID; srun --qpu-env=off env > off.$SLURM_JOB_ID"
    waiting = {name: held(jobs, script=script, **own) for name, (own, _) in cases.items()}
    completed(jobs, *waiting.values())
    for name, job in waiting.items():
        own, wanted = cases[name]
        for text in (jobs.output(job), (jobs.work / f"step.{job}").read_text()):
            assert seen(text) == OWN | GIVEN | wanted, name
        assert {k: v for k, v in seen((jobs.work / f"off.{job}").read_text()).items() if v} == OWN | {
            key: value for key, value in own.items() if key in WATCHED and value
        }, name


@pytest.mark.slow
def test_what_the_script_changed_is_the_users(jobs: Jobs) -> None:
    changes = "export IAM_URL=mine NO_PROXY=$NO_PROXY,more SSL_CERT_FILE=mine"
    job = held(jobs, script=f"{changes}; srun env > changed; srun --qpu-env=off env > changed.off")
    completed(jobs, job)
    mine = {"SSL_CERT_FILE": "mine", "NO_PROXY": f"{HOST},more"}
    assert seen((jobs.work / "changed").read_text()) == OWN | GIVEN | mine | {"no_proxy": f"{HOST},more"}
    assert seen((jobs.work / "changed.off").read_text()) == OWN | mine | {"IAM_URL": "mine"}


def test_jobs_of_a_job_inherit_nothing_but_what_is_the_users(jobs: Jobs) -> None:
    submit = "sbatch --parsable --hold --time=1 -o %j.out --wrap env"
    plain = f"env -u SLURM_SPANK__SLURM_SPANK_OPTION_qrmi_qpu {submit}"
    outer = held(
        jobs, script=f"{plain}; {submit}; export QISKIT_IBM_TOKEN=mine; {plain}", NO_PROXY="mine", PYTHONPATH="/mine",
        QRMI_PASQAL_HOOK="1",
    )  # fmt: skip
    completed(jobs, outer)
    # A busy slurmctld lets sbatch try again, which says so in between.
    without, leased, changed = (int(line) for line in jobs.output(outer).splitlines() if line.isdigit())
    write_state(jobs.cluster, leased, state(jobs, lease="b" * 32).replace("t0ken = x", "other"))
    completed(jobs, without, leased, changed)
    mine = {"NO_PROXY": "mine", "PYTHONPATH": "/mine"}
    assert seen(jobs.output(without)) == mine
    assert NOTES.isdisjoint(variables_of(jobs.output(without)))
    assert seen(jobs.output(changed)) == mine | {"QISKIT_IBM_TOKEN": "mine"}
    given = {"NO_PROXY": f"mine,{HOST}", "no_proxy": f"mine,{HOST}", "PYTHONPATH": f"{HOOK}:/mine"}
    mine = given | {"QISKIT_IBM_TOKEN": "other", "QRMI_LEASE_ID": "b" * 32}
    assert seen(jobs.output(leased)) == OWN | GIVEN | mine


@pytest.mark.slow
def test_each_task_of_an_array_and_only_the_leader_of_a_heterogeneous_job(jobs: Jobs) -> None:
    leader = next_job(jobs.cluster)
    for job in (leader, leader + 2, leader + 3):
        write_state(jobs.cluster, job, state(jobs))
    for node in jobs.cluster.nodes[1:]:
        (node.state / str(leader)).unlink()
    script = "srun --het-group=0 env > vendor.0; srun --het-group=1 env > vendor.1"
    assert jobs.submit("--qpu=ibm_fez", "-wn1", "-n1", ":", "-wn2", "-n1", script=script) == leader
    array = jobs.submit("--qpu=ibm_fez", "--array=0-1", "--time=1", script="env")
    assert jobs.ended(f"{leader}+0")["JobState"] == "COMPLETED", jobs.output(leader)
    assert polling.wait_until(lambda: not jobs.cluster.run(["squeue", "-h", "-j", str(array)]).stdout, timeout=40)
    texts = [(jobs.work / name).read_text() for name in (f"{array}.0.out", f"{array}.1.out", "vendor.0")]
    assert [seen(text) for text in texts] == [OWN | GIVEN] * 3
    assert seen((jobs.work / "vendor.1").read_text()) == {}


@pytest.mark.slow
def test_what_a_user_notes_himself_reaches_only_his_own(jobs: Jobs) -> None:
    """Forged, cut or absurd notes: the job starts, and nothing that they do not match goes."""
    forged = (
        "IAM_URL=0123456789abcdef+0+0,,=,NO_PROXY=x,no_proxy=cbf29ce484222325+99999999999999999999+5,A" + ",B=" * 999
    )
    done = jobs.srun("env", QRMI_VENDOR_DIGESTS=forged, IAM_URL="mine", no_proxy="", NO_PROXY="mine")
    assert done.returncode == 0, done.stderr
    told = seen(done.stdout)
    assert (told["IAM_URL"], told["NO_PROXY"], told.get("no_proxy", "")) == ("mine", "mine", "")


def test_no_value_is_logged_and_no_digest_gives_it_away(jobs: Jobs) -> None:
    secret = f"s3cret-{time.time_ns()}"
    text = state(jobs).replace("t0ken = x", secret)
    good = jobs.submit("--hold", "--time=1", "--qpu=ibm_fez", script="env | grep QRMI_VENDOR_")
    broken = jobs.submit("--hold", "--time=1", "--qpu=ibm_fez", script="true")
    write_state(jobs.cluster, good, text)
    write_state(jobs.cluster, broken, text + "vendor what\n")
    release(jobs.cluster, good, broken)
    assert jobs.ended(good)["JobState"] == "COMPLETED"
    assert jobs.ended(broken)["JobState"] == "FAILED"
    assert "QRMI_VENDOR_DIGESTS=QISKIT_IBM_TOKEN=" in jobs.output(good)
    assert secret not in jobs.output(good) + jobs.output(broken)
    logs = [file for file in jobs.cluster.places.log.iterdir() if secret in file.read_text(errors="replace")]
    assert logs == []
