# SPDX-License-Identifier: Apache-2.0
"""Measures what --qpu adds to a job on real Slurm, and what plugin and scripts add to others, for rows_slurm.py.

Kinds of jobs take turns, so that a busy machine spoils all alike. srun is timed to its end. A batch job is timed
while it is submitted, and from its start by slurmctld to that of its program: in between it waits for the scheduler's
next pass, which comes once a second, whatever the job is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from cluster import USERS, Jobs, by_root, make_users, why_not
from figures import Figure, Sample
from qpu_site import QUICK, QpuSite, start_site
from taking import tell

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster

IBM = "ibm-quantum-compute-service"
LANES = 8
NO_JOB = "4000000000"
ORDER = ("bare", "without", "local", "without", "bare", "direct")
"""What the plugin adds is little, so it has twice the samples; the end of a job with a QPU meets both alike."""

NOTHING = """
function slurm_job_submit(job_desc, part_list, submit_uid) return slurm.SUCCESS end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid) return slurm.SUCCESS end
return slurm.SUCCESS
"""


def in_turn(
    works: dict[str, Callable[[], float]], times: int, order: Sequence[str] = ()
) -> dict[str, tuple[Sample, ...]]:
    """The seconds of each kind of work, in this order again and again; the first round is for warming up."""
    order = order or tuple(works)
    found: dict[str, list[Sample]] = {name: [] for name in works}
    for number in range(times + 1):
        for name in order:
            sample = Sample(works[name]())
            if number:
                found[name].append(sample)
    return {name: tuple(samples) for name, samples in found.items()}


def compared(measure: str, floor: tuple[Sample, ...], ours: tuple[Sample, ...]) -> None:
    tell(Figure(measure, "floor", floor), Figure(measure, "ours", ours))


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
        begun = time.perf_counter()
        job = jobs.submit(*options, script="date +%s.%N")
        submitting = time.perf_counter() - begun
        output = jobs.work / f"{job}.out"
        assert polling.wait_until(lambda: output.exists() and output.read_text().endswith("\n"), timeout=60)
        jobs.ended(job)
        return submitting + float(output.read_text()) - started(jobs.cluster, job)

    return work


def started(cluster: Cluster, job: int) -> float:
    """When slurmctld started a job, in seconds since the epoch, as its log tells to the millisecond."""
    log = (cluster.places.log / "slurmctld.log").read_text(errors="replace")
    found = re.search(rf"^\[(\S+)\] sched.*(?:Started|Allocate) JobId={job} ", log, re.MULTILINE)
    assert found is not None, f"slurmctld's log does not tell when job {job} started"
    return datetime.fromisoformat(found[1]).timestamp()


@contextlib.contextmanager
def without_plugin() -> Iterator[Cluster]:
    """A cluster that knows nothing of QPUs. It has a Prolog too: after any, slurmd pauses for 10 ms (run_command)."""
    directory = Path(tempfile.mkdtemp(prefix="qrmi-bare-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with Cluster(directory, prolog=False, options=QUICK) as cluster:
            for file in (cluster.places.etc / "plugstack.conf", *(node.plugstack for node in cluster.nodes)):
                file.write_text("")
            (cluster.places.etc / "job_submit.lua").write_text(NOTHING)
            prolog = directory / "prolog"
            prolog.write_text("#!/bin/sh\nexit 0\n")
            prolog.chmod(0o755)
            for node in cluster.nodes:
                with node.slurm_conf.open("a") as file:
                    file.write(f"Prolog={prolog}\n")
            cluster.run(["scontrol", "reconfigure"])
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
        took = in_turn(works, times, ORDER)
        compared(f"slurm-{name}", took["bare"], took["without"])
        compared(f"slurm-{name}-simulator", took["without"], took["local"])
        compared(f"slurm-{name}-session", took["without"], took["direct"])


def scripts(site: QpuSite, times: int) -> None:
    node = site.cluster.nodes[0]
    prolog = str(node.directory / "qrmi-prolog")
    job = {"SLURM_JOB_ID": NO_JOB, "SLURM_JOB_UID": str(os.geteuid()), "SLURMD_NODENAME": node.name, "PATH": "/usr/bin"}
    works = {
        "shell": process(["/bin/sh", "-c", ":"]),
        "without": process([prolog], job),
        "Python": process(["/usr/bin/python3", "-I", "-S", "-c", ""]),
        "with": process([prolog], {**job, "SPANK_QPU": "ibm_fez"}),
    }
    took = in_turn(works, times)
    compared("slurm-prolog", took["shell"], took["without"])
    compared("slurm-prolog-qpu", took["Python"], took["with"])
    (node.state / NO_JOB).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=14, help="rounds of jobs of each kind")
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


if __name__ == "__main__":
    main()
