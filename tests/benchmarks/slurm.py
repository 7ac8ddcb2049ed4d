# SPDX-License-Identifier: Apache-2.0
"""What --qpu adds to a job on real Slurm, and what the plugin and the scripts add to jobs that want none.

Kinds of jobs take turns, so that a busy machine spoils all of them alike. A batch job is timed from its submission to
the moment at which its program runs, srun to its end. `make bench` prints the medians with their goals.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from cluster import USERS, Jobs, by_root, make_users, why_not
from qpu_site import QUICK, QpuSite, start_site

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster

IBM = "ibm-quantum-compute-service"
LANES = 8
NO_JOB = "4000000000"
NOTHING = """
function slurm_job_submit(job_desc, part_list, submit_uid) return slurm.SUCCESS end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid) return slurm.SUCCESS end
return slurm.SUCCESS
"""


def show(what: str, figure: str, goal: str = "") -> None:
    print(f"{what:64} {figure:>12} {goal:>12}", flush=True)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def quarter(seconds: list[float]) -> float:
    """Above the fastest quarter: what a busy machine spoils least."""
    return sorted(seconds)[len(seconds) // 4]


def in_turn(works: dict[str, Callable[[], float]], times: int) -> dict[str, list[float]]:
    """The seconds of each kind of work, one of each after the other; the first round is for warming up."""
    rounds = [{name: work() for name, work in works.items()} for _ in range(times + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in works}


def process(command: list[str], environment: dict[str, str] | None = None) -> Callable[[], float]:
    def work() -> float:
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)
        return time.perf_counter() - begun

    return work


def srun(jobs: Jobs, *options: str) -> Callable[[], float]:
    def work() -> float:
        begun = time.perf_counter()
        done = jobs.srun(*options, "true")
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - begun

    return work


def sbatch(jobs: Jobs, *options: str) -> Callable[[], float]:
    def work() -> float:
        begun = time.time()
        job = jobs.submit(*options, script="date +%s.%N")
        output = jobs.work / f"{job}.out"
        assert polling.wait_until(lambda: output.exists() and output.read_text().endswith("\n"), timeout=60)
        return float(output.read_text()) - begun

    return work


@contextlib.contextmanager
def without_plugin() -> Iterator[Cluster]:
    """A cluster that knows nothing of QPUs."""
    directory = Path(tempfile.mkdtemp(prefix="qrmi-bare-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with Cluster(directory, prolog=False, options=QUICK) as cluster:
            for file in (cluster.places.etc / "plugstack.conf", *(node.plugstack for node in cluster.nodes)):
                file.write_text("")
            (cluster.places.etc / "job_submit.lua").write_text(NOTHING)
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def jobs_of(site: QpuSite, bare: Cluster, times: int) -> None:
    ours, others = site.jobs(), Jobs(bare, USERS[0] if by_root() else None)
    for name, kind in (("srun", srun), ("sbatch", sbatch)):
        works = {
            "bare": kind(others),
            "without": kind(ours),
            "local": kind(ours, "--qpu=aer_ideal"),
            "direct": kind(ours, "--qpu=ibm_fez"),
        }
        took = in_turn(works, times)
        show(f"{name} true, Slurm alone", milliseconds(statistics.median(took["bare"])))
        for what, more, less, goal in (
            ("plugin and scripts add", "without", "bare", "<= 10 ms"),
            ("--qpu of a simulator adds", "local", "without", "<= 250 ms"),
            ("--qpu with a session at IBM's adds", "direct", "without", "<= 250 ms"),
        ):
            show(f"{name}: {what}", milliseconds(statistics.median(took[more]) - statistics.median(took[less])), goal)
            show("    the fastest quarter of the jobs", milliseconds(quarter(took[more]) - quarter(took[less])))


def scripts(site: QpuSite, times: int) -> None:
    node = site.cluster.nodes[0]
    prolog = str(node.directory / "qrmi-prolog")
    job = {"SLURM_JOB_ID": NO_JOB, "SLURM_JOB_UID": str(os.geteuid()), "SLURMD_NODENAME": node.name, "PATH": "/usr/bin"}
    works = {
        "a shell": process(["/bin/sh", "-c", ":"]),
        "prolog, job without a QPU": process([prolog], job),
        "Python": process(["/usr/bin/python3", "-I", "-S", "-c", ""]),
        "prolog, job with a QPU: asking and being refused": process([prolog], {**job, "SPANK_QPU": "ibm_fez"}),
    }
    goals = {"prolog, job without a QPU": "<= 5 ms", "prolog, job with a QPU: asking and being refused": "<= 150 ms"}
    for what, seconds in in_turn(works, times).items():
        show(what, milliseconds(statistics.median(seconds)), goals.get(what, ""))
    (node.state / NO_JOB).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    times = parser.parse_args().times
    if reason := why_not():
        raise SystemExit(reason)
    from ibm_compute_case import CASE

    make_users()
    with contextlib.ExitStack() as stack:
        vendor = stack.enter_context(CASE.start())
        resources = [
            {"name": "aer_ideal", "type": "aer-simulator", "lanes": LANES, "environment": {}},
            {"name": "ibm_fez", "type": IBM, "lanes": LANES, "environment": dict(vendor.environment)},
        ]
        site = stack.enter_context(start_site(resources, gateway={"log_level": "info"}))
        bare = stack.enter_context(without_plugin())
        scripts(site, times)
        jobs_of(site, bare, times)
        counters = vendor.emulator.counters.requests
        sessions = counters["POST /api/v1/sessions"]
        show("requests at IBM's for each lease", f"{sum(counters.values()) / sessions:.1f}")


if __name__ == "__main__":
    main()
