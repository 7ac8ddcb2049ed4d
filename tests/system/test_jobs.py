# SPDX-License-Identifier: Apache-2.0
"""Jobs with QPUs on real Slurm: the examples started in each way, on each kind of QPU; and who waits for whom."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import all_idle, show, variables_of
from full_site import EXAMPLES, REMOTE, ROOT, FullJobs, FullSite

from qrmi_core import polling

ARRAY = 20
TOGETHER = {"qiskit_bell": r"Bell state\n  00 +\d+", "pulser_ring": r"occupations: \S+\.png"}
"""What an example prints at its end."""


@pytest.fixture
def jobs(site: FullSite) -> FullJobs:
    return site.jobs()


def example(qpu: str) -> str:
    return f"python {ROOT}/examples/{EXAMPLES[qpu]}.py"


def worked(qpu: str, said: str, times: int = 1) -> None:
    """The output is that of an example which ran so many times."""
    assert len(re.findall(TOGETHER[EXAMPLES[qpu]], said)) == times, said
    assert f" on {qpu}, " in said, said


def by_sbatch(jobs: FullJobs, qpu: str) -> None:
    job = jobs.submit_file(f"{EXAMPLES[qpu]}.sbatch", f"--qpu={qpu}")
    (said,) = jobs.completed(job)
    worked(qpu, said)


def by_srun(jobs: FullJobs, qpu: str) -> None:
    done = jobs.srun(f"--qpu={qpu}", "-D", str(jobs.work), *example(qpu).split(), timeout=60)
    assert done.returncode == 0, done.stderr
    worked(qpu, done.stdout)


def by_salloc(jobs: FullJobs, qpu: str) -> None:
    inner = ["srun", "-D", str(jobs.work), *example(qpu).split()]
    done = jobs.run("salloc", f"--qpu={qpu}", *inner, timeout=60)
    assert done.returncode == 0, done.stderr
    worked(qpu, done.stdout)


def by_array(jobs: FullJobs, qpu: str) -> None:
    job = jobs.submit(f"--qpu={qpu}", f"--array=0-{ARRAY - 1}", script=example(qpu))
    names = [f"{job}_{task}" for task in range(ARRAY)]
    ended = [jobs.ended(name, timeout=400) for name in names]
    said = [jobs.output(f"{job}.{task}") for task in range(ARRAY)]
    assert {each["JobState"] for each in ended} == {"COMPLETED"}, said
    assert {each["Restarts"] for each in ended} == {"0"}
    for text in said:
        worked(qpu, text)


def on_two_nodes(jobs: FullJobs, qpu: str) -> None:
    # A file of each task's own, for lines of two programs get mixed.
    script = f"srun -N2 -n2 sh -c '{example(qpu)} > $SLURM_JOB_ID.$SLURMD_NODENAME.txt'"
    job = jobs.submit(f"--qpu={qpu}", "-N2", "-n2", "--ntasks-per-node=1", script=script)
    jobs.completed(job)
    for node in ("n1", "n2"):
        worked(qpu, (jobs.work / f"{job}.{node}.txt").read_text())


WAYS = {"sbatch": by_sbatch, "srun": by_srun, "salloc": by_salloc, "array": by_array, "two nodes": on_two_nodes}
PLAIN = {
    ("srun", "aer_ideal"), ("sbatch", "ibm_fez"), ("salloc", "ibm_kobe"),
    ("srun", "FRESNEL"), ("two nodes", "orion"),
}  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("way", "qpu"),
    [
        pytest.param(way, qpu, marks=[] if (way, qpu) in PLAIN else pytest.mark.slow)
        for way, qpu in itertools.product(WAYS, EXAMPLES)
    ],
)
def test_an_example_runs(site: FullSite, jobs: FullJobs, way: str, qpu: str) -> None:
    before = {name: site.runs(name) for name in REMOTE}
    WAYS[way](jobs, qpu)
    assert {name for name in REMOTE if site.runs(name) > before[name]} == {qpu} & set(REMOTE)


def test_a_qpu_chosen_by_what_the_program_needs(jobs: FullJobs) -> None:
    done = jobs.srun("--qpu=aer_fez", *f"python {ROOT}/examples/choose_qpu.py".split(), timeout=60)
    assert done.returncode == 0, done.stderr
    assert "the least busy of them: aer_fez\na simulator of at least 150 qubits: aer_fez" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("qpu", ["aer_ideal", "ibm_fez", "ibm_kobe"])
def test_an_optimiser_finds_the_ground_state(jobs: FullJobs, qpu: str) -> None:
    (said,) = jobs.completed(jobs.submit_file("qiskit_ising.sbatch", f"--qpu={qpu}"), timeout=500)
    found = re.search(r"^found (-\d\.\d+)", said, re.MULTILINE)
    assert found is not None
    assert float(found[1]) < 0.9 * -4.759


@pytest.mark.parametrize("qpus", [("ibm_fez", "FRESNEL"), ("orion", "aer_ideal", "ibm_kobe")])
def test_a_job_uses_qpus_of_several_vendors(site: FullSite, jobs: FullJobs, qpus: tuple[str, ...]) -> None:
    before = {name: site.runs(name) for name in REMOTE}
    job = jobs.submit(f"--qpu={','.join(qpus)}", script=site.program())
    (said,) = jobs.completed(job)
    assert set(re.findall(r"^(\w+) ran ", said, re.MULTILINE)) == set(qpus)
    assert {name: site.runs(name) - before[name] for name in REMOTE} == {name: int(name in qpus) for name in REMOTE}


@pytest.mark.slow
def test_what_one_job_transpiles_another_runs(jobs: FullJobs) -> None:
    first = jobs.submit_file("transpile_first.sbatch")
    second = jobs.submit_file("run_transpiled.sbatch", f"--dependency=afterok:{first}")
    assert show(jobs.cluster, first)["Licenses"] == "(null)"
    transpiled, ran = jobs.completed(first, second)
    assert "circuits.qpy" in transpiled
    shares = [float(share) for share in re.findall(r"^  ghz\d: (\d+\.\d)% all zero", ran, re.MULTILINE)]
    assert len(shares) == 3
    assert min(shares) > 99


@pytest.mark.parametrize("qpu", ["aer_ideal", "ibm_fez", pytest.param("orion", marks=pytest.mark.slow)])
def test_without_the_environment_of_the_submission(site: FullSite, jobs: FullJobs, qpu: str) -> None:
    environment = jobs.environment()
    names = [name for name in ("PATH", "PYTHONPATH", "XDG_STATE_HOME", "QRMI_CLIENT_CONFIG") if name in environment]
    lines = [f"export {name}={environment[name]}" for name in names]
    job = jobs.submit(f"--qpu={qpu}", "--export=NONE", script="\n".join([*lines, site.program()]))
    (said,) = jobs.completed(job)
    assert re.search(rf"^{qpu} ran ", said, re.MULTILINE), said


@pytest.mark.timeout(300)
def test_an_array_shares_a_lane(site: FullSite, jobs: FullJobs) -> None:
    """Twenty tasks, one after the other: each has a lease, and a session of its own."""
    before = len(site.sessions())
    script = "echo $QRMI_LEASE_ID; date +%s.%N; date +%s.%N"
    job = jobs.submit("--qpu=ibm_fez", f"--array=0-{ARRAY - 1}", script=script)
    ended = [jobs.ended(f"{job}_{task}", timeout=200) for task in range(ARRAY)]
    assert {(each["JobState"], each["Restarts"]) for each in ended} == {("COMPLETED", "0")}
    said = [jobs.output(f"{job}.{task}").split() for task in range(ARRAY)]
    assert len({lease for lease, _, _ in said}) == ARRAY
    assert len(site.sessions()) == before + ARRAY
    times = sorted((float(start), float(end)) for _, start, end in said)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


# who waits for whom


def timed(jobs: FullJobs, qpu: str, *options: str, until: Path | None = None) -> int:
    """A job that writes down when it began and ended; it goes on until a file is there."""
    wait = "" if until is None else f"; until [ -e {until} ]; do sleep 0.1; done"
    return jobs.submit(f"--qpu={qpu}", "--time=2", *options, script=f"date +%s.%N{wait}; date +%s.%N")


def times(jobs: FullJobs, *numbers: int) -> list[tuple[float, float]]:
    """Begin and end of such jobs."""
    found = [[float(line) for line in said.split()] for said in jobs.completed(*numbers)]
    return [(begin, end) for begin, end in found]


def runs(jobs: FullJobs, job: int) -> bool:
    return polling.wait_until(lambda: show(jobs.cluster, job)["JobState"] == "RUNNING", timeout=20)


def waits(jobs: FullJobs, job: int) -> bool:
    """Wait until Slurm says that it waits for licences."""
    return polling.wait_until(
        lambda: (
            (seen := show(jobs.cluster, job))["JobState"] == "PENDING" and seen["Reason"] in {"Licenses", "Priority"}
        ),
        timeout=20,
    )


@pytest.mark.parametrize("qpu", ["ibm_fez", "orion", "pulser_analog"])
def test_two_jobs_for_one_lane_run_one_after_the_other(
    jobs: FullJobs, qpu: str, record_property: Callable[[str, object], None]
) -> None:
    (_, first), (second, _) = times(jobs, timed(jobs, qpu), timed(jobs, qpu))
    record_property("gap", f"{second - first:.2f} s on {qpu}")
    assert 0 < second - first <= 2


def test_jobs_for_two_qpus_run_side_by_side(jobs: FullJobs) -> None:
    here = [jobs.work / f"side-{number}" for number in range(2)]
    pair = [
        jobs.submit(f"--qpu={qpu}", script=f"touch {mine}; until [ -e {others} ]; do sleep 0.1; done")
        for qpu, mine, others in (("ibm_fez", *here), ("ibm_kobe", *reversed(here)))
    ]
    jobs.completed(*pair)


def test_full_waits_for_all_lanes_and_nobody_overtakes_it(jobs: FullJobs) -> None:
    go = jobs.work / "go-full"
    first = timed(jobs, "aer_ideal", until=go)
    assert runs(jobs, first)
    full = timed(jobs, "aer_ideal:full")
    assert waits(jobs, full)
    later = timed(jobs, "aer_ideal")
    assert waits(jobs, later)
    go.touch()
    (_, first_end), (begin, end), (later_begin, _) = times(jobs, first, full, later)
    assert first_end < begin < end < later_begin


def test_a_job_for_two_qpus_gets_both_or_waits(jobs: FullJobs) -> None:
    go = jobs.work / "go-both"
    holder = timed(jobs, "ibm_fez", "--time=20", until=go)
    assert runs(jobs, holder)
    both = timed(jobs, "FRESNEL,ibm_fez")
    assert waits(jobs, both)
    # It holds nothing meanwhile.
    jobs.completed(timed(jobs, "FRESNEL"))
    assert show(jobs.cluster, both)["JobState"] == "PENDING"
    go.touch()
    (_, holder_end), (begin, _) = times(jobs, holder, both)
    assert 0 < begin - holder_end <= 2


@contextlib.contextmanager
def nobody_asks(gateway: Path) -> Iterator[None]:
    """A socket in place of the gateway's, at which nobody may knock."""
    aside = gateway.with_name("aside.sock")
    gateway.rename(aside)
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(gateway))
            gateway.chmod(0o777)
            door.listen()
            door.setblocking(False)
            yield
            with pytest.raises(BlockingIOError):
                door.accept()
    finally:
        aside.rename(gateway)


def test_a_job_without_a_qpu_is_untouched(site: FullSite, jobs: FullJobs) -> None:
    go = jobs.work / "go-plain"
    with nobody_asks(site.running.site.socket):
        job = jobs.submit(script=f"env; touch {go}.runs; until [ -e {go} ]; do sleep 0.1; done")
        assert polling.wait_until(Path(f"{go}.runs").exists, timeout=20)
        assert [file for node in site.cluster.nodes for file in node.state.iterdir()] == []
        go.touch()
        (said,) = jobs.completed(job)
        assert all_idle(site.cluster)
    own = jobs.environment()
    found = variables_of(said)
    by_slurm = {"HOME", "PWD", "SLURM_CONF"}
    assert {name: found.get(name) for name in own.keys() - by_slurm} == {n: own[n] for n in own.keys() - by_slurm}
    # What Slurm and the shell add of their own, without a word of ours.
    more = {name for name in found.keys() - own.keys() if not re.match("SLURM|.*HYDRA|.*_plm_slurm_args", name)}
    assert more <= {"ENVIRONMENT", "HOME", "HOSTNAME", "LOGNAME", "OLDPWD", "PWD", "SHLVL", "TMPDIR", "USER", "_"}
    assert not [name for name in found.keys() - own.keys() if "QPU" in name or "SPANK" in name]
