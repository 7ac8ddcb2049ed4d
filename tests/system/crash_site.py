# SPDX-License-Identifier: Apache-2.0
"""A site whose parts are killed: IBM's cloud with sessions, and a Warden that cannot cancel, one lane each.

After a crash :meth:`CrashSite.given_back` watches Slurm, the gateway and the vendors' own state, and says how long it
took from the moment at which Slurm knew that the job was over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import ENDED, all_idle, make_users, show
from qpu_site import QpuSite, SiteJobs, start_site

import ibm_compute_case  # isort: skip  qpu_site makes it importable
import pasqal_local_case  # isort: skip
from vendor_site import Clock  # isort: skip
from vendor_site import Site as VendorSite  # isort: skip
from vendor_site import site as vendor_site  # isort: skip

from qrmi_core import polling
from qrmi_core.admin_client import GatewayUnreachable
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.http_settings import DEADLINE
from qrmi_core.slurm.cluster import Cluster
from qrmi_core.tasks import TaskStatus

__all__ = ["PROMISED", "CrashSite", "Returned", "Tell", "crash_site", "is_saved", "kill", "own_process"]

PROMISED = 10.0
"""Seconds from Slurm's knowing that a job is over to the released QPU."""

LONG = 600.0
TTL_MARGIN = 60.0
Tell = Callable[[str, object], None]

PROGRAM = """\
import sys
from qrmi_core import PulserBatch, PulserJob, QiskitPrimitive, QRMIService
task = QRMIService().resource({name!r}).submit({payload})
print("task", task.id, flush=True)
task.wait()
print("saved", flush=True)
"""


@dataclass
class Returned:
    """When (monotonic seconds) Slurm knew that the job was over, and when nothing was held for it any more."""

    known: float | None = None
    free: float | None = None

    @property
    def seconds(self) -> float:
        assert self.known is not None, "Slurm never knew that the job is over"
        assert self.free is not None, "it was not given back"
        return max(0.0, self.free - self.known)


class CrashSite:
    """The site, the vendors, and what tests ask of them."""

    def __init__(self, running: QpuSite, ibm: VendorSite, warden: VendorSite, clock: Clock) -> None:
        self.running = running
        self.cluster: Cluster = running.cluster
        self.ibm = ibm
        self.warden = warden
        self.clock = clock
        self.jobs: SiteJobs = running.jobs()
        self._programs = {
            "ibm_fez": self._program("ibm_fez", f"QiskitPrimitive('sampler', {_sampler()!r})"),
            "orion": self._program("orion", f"PulserBatch({_pulse()!r}, (PulserJob(10),))"),
        }

    def _program(self, name: str, payload: str) -> Path:
        file = self.cluster.places.work / f"hold_{name}.py"
        file.write_text(PROGRAM.format(name=name, payload=payload))
        return file

    def hold(self, *options: str, qpu: str = "ibm_fez", before: str = "") -> int:
        """Submit a job whose program waits for a task of ten minutes."""
        script = f"{before}\nexec {self.jobs.python} -P {self._programs[qpu]}"
        return self.jobs.submit(f"--qpu={qpu}", *options, script=script)

    def running_task(self, job: int, *, lines: int = 1) -> None:
        """Wait until the job's program has told the gateway of its task."""

        def told() -> bool:
            with contextlib.suppress(FileNotFoundError):
                return self.jobs.output(job).count("task ") >= lines and self._all_announced()
            return False

        assert polling.wait_until(told, timeout=40), (self.state(job), self.said(job), self.running.log()[-3000:])

    def _all_announced(self) -> bool:
        spool = self.cluster.places.work / f"home-{self.jobs.user}" / "qrmi" / "announcements"
        leases = list(spool.iterdir()) if spool.is_dir() else []
        return bool(leases) and not any(file for lease in leases for file in lease.iterdir())

    def forget(self) -> None:
        """Be rid of what the last test left in the files that tests look at."""
        spool = self.cluster.places.work / f"home-{self.jobs.user}" / "qrmi" / "announcements"
        shutil.rmtree(spool, ignore_errors=True)

    def cancel_all(self) -> None:
        for state in ("PENDING", "RUNNING"):
            self.cluster.run(["scancel", f"--state={state}"], timeout=20, check=False)

    def said(self, job: int) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.jobs.output(job)
        return ""

    def state(self, job: int) -> dict[str, str]:
        """What Slurm says of a job; nothing of one that it does not know, or while nobody answers."""
        try:
            return show(self.cluster, job)
        except QRMIError:
            return {}

    def is_in(self, job: int, *states: str, timeout: float = 40.0) -> bool:
        return polling.wait_until(lambda: self.state(job).get("JobState") in states, timeout=timeout)

    # what the vendors themselves know

    def sessions(self) -> dict[str, bool]:
        """Each vendor session, and whether it is open."""
        ibm: Any = self.ibm.emulator.dialect
        warden: Any = self.warden.emulator.dialect
        found = {key: session.state != "closed" for key, session in dict(ibm._sessions).items()}
        return found | {key: not session.revoked for key, session in dict(warden._sessions).items()}

    def tasks(self) -> dict[str, TaskStatus]:
        """The status of each task of IBM's; Warden's cannot be cancelled."""
        ibm: Any = self.ibm.emulator.dialect
        resource = self.ibm.resource()
        return {key: resource.task_info(key).status for key in list(ibm._jobs)}

    def longest_session(self) -> float:
        """Of the sessions that are open: the seconds after which the vendor ends the last one by itself."""
        ibm: Any = self.ibm.emulator.dialect
        return max((each.max_ttl for each in ibm._sessions.values() if each.state != "closed"), default=0.0)

    def end_lost_sessions(self) -> None:
        """What an operator does at the vendor's about sessions that leases are shown as uncertain for."""
        ibm: Any = self.ibm.emulator.dialect
        for session in ibm._sessions.values():
            session.close()

    # the gateway

    def leases(self) -> list[dict[str, Any]]:
        """The live leases."""
        return self.running.live_leases()

    def held(self) -> list[dict[str, Any]]:
        """Those of which more is left than a session that the vendor ends by itself."""
        return [each for each in self.leases() if not _is_lost(each)]

    def lease_of(self, job: int) -> dict[str, Any]:
        """Wait for the lease of a job."""
        found: list[dict[str, Any]] = []

        def granted() -> bool:
            with contextlib.suppress(GatewayUnreachable):
                found[:] = [each for each in self.leases() if each["job_id"] == job and each["state"] == "granted"]
            return bool(found)

        assert polling.wait_until(granted, timeout=60), (self.state(job), self.running.log()[-3000:])
        return found[0]

    def kill_gateway(self) -> None:
        site = self.running.site
        site.gateway.signal(self.cluster.places.run, signal.SIGKILL)
        assert site.gateway.gone(self.cluster.places.run)

    def start_gateway(self, failpoint: str | None = None) -> None:
        """Start it as systemd would, with a place at which it dies."""
        gateway = self.running.site.gateway
        kept = {key: value for key, value in gateway.environment.items() if key != "QRMI_FAILPOINT"}
        gateway.environment = kept | ({"QRMI_FAILPOINT": failpoint} if failpoint else {})
        self.running.site.start_gateway()

    def gateway_lives(self) -> bool:
        return self.running.site.gateway.pid(self.cluster.places.run) is not None

    # daemons of Slurm

    def kill_daemon(self, name: str) -> None:
        daemon = self.cluster.daemons[name]
        daemon.signal(signal.SIGKILL)
        assert daemon.gone()

    def start_daemon(self, name: str) -> None:
        self.cluster.start_daemons(name)

    def given_back(
        self, job: int, tell: Tell, row: str, *, over: Callable[[Mapping[str, str]], bool] | None = None,
        timeout: float = 60.0, promised: float = PROMISED, lost: bool = False, open_leases: int = 0,
        other_jobs: bool = False, stale: tuple[str, ...] = (),
    ) -> Returned:  # fmt: skip
        """Wait until Slurm knows that the job's run is over, and nothing is held; then look that nothing is left.

        ``over`` says of what Slurm shows when that is; ``lost`` that an acquisition whose answer was lost may be
        shown until the vendor ends it; ``open_leases`` how many belong to others, ``stale`` which jobs' state files
        Slurm gave no epilog the chance to remove.
        """
        found = Returned()
        over = over or (lambda told: told.get("JobState") in ENDED)

        def look() -> bool:
            if found.known is None and over(self.state(job)):
                found.known = time.monotonic()
            if found.free is None and found.known is not None and self._nothing_held(lost, open_leases):
                found.free = time.monotonic()
            return found.free is not None

        polling.wait_until(look, timeout=timeout)
        assert found.free is not None, (row, found, self.state(job), self.sessions(), self.running.log()[-4000:])
        tell("crash", f"{row:<60} {found.seconds:6.1f} s")
        assert found.seconds <= promised, (row, found.seconds)
        if not other_jobs:
            assert all(status.is_final for status in self.tasks().values()), self.tasks()
            assert all_idle(self.cluster), self.cluster.run(["sinfo", "-N", "-l"]).stdout
            # The epilog of a node that was away runs when it is back.
            assert polling.wait_until(lambda: self._state_files() == [*stale], timeout=20), self._state_files()
        return found

    def _state_files(self) -> list[str]:
        return [file.name for node in self.cluster.nodes for file in node.state.iterdir()]

    def _nothing_held(self, lost: bool, others: int) -> bool:
        try:
            leases = self.leases()
        except GatewayUnreachable:
            return False
        held = [lease for lease in leases if not _is_lost(lease)]
        uncertain = sum(self.sessions().values()) - others
        if lost and uncertain:
            return len(held) == others and uncertain == 1 and self.longest_session() <= 60 + TTL_MARGIN
        return len(held) == others and uncertain == 0


def _is_lost(lease: dict[str, Any]) -> bool:
    """Whether all that is left of a lease is a session that the vendor ends by itself."""
    return {each["state"] for each in lease["resources"]} <= {"uncertain", "released"}


def own_process(file: Path) -> int:
    """The process whose number a job wrote into a file."""
    assert polling.wait_until(lambda: file.exists() and file.read_text().strip().isdigit(), timeout=30), file
    return int(file.read_text())


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_saved(cluster: Cluster, since: float) -> bool:
    """Wait until slurmctld has written its jobs down after a moment (epoch seconds)."""
    file = cluster.places.controller / "job_state"
    return polling.wait_until(lambda: file.exists() and file.stat().st_mtime > since, timeout=40)


def _sampler() -> bytes:
    return bytes(ibm_compute_case.sampler_payload(5).parameters)


def _pulse() -> bytes:
    return bytes(pasqal_local_case.payload(1).sequence)


@contextlib.contextmanager
def crash_site(prepare: Callable[[Path], None] = lambda _: None, **options: Any) -> Iterator[CrashSite]:
    """The site in a directory of its own; ``prepare`` is called with it before anything starts."""
    make_users()
    directory = Path(tempfile.mkdtemp(prefix="qrmi-crash-", dir="/tmp"))
    directory.chmod(0o755)
    clock = Clock()
    clock.seconds = LONG
    munge = DialectOptions(munge_socket=str(directory / "munge" / "head.sock"), without=frozenset({"cancel", "logs"}))
    try:
        with contextlib.ExitStack() as stack:
            ibm = stack.enter_context(ibm_compute_case.CASE.start(service_time=clock))
            warden = stack.enter_context(vendor_site("pasqal-local", options=munge, service_time=clock))
            resources = [
                {
                    "name": "ibm_fez",
                    "type": "ibm-quantum-compute-service",
                    "environment": {**ibm.environment, DEADLINE: "5"},
                },
                {"name": "orion", "type": "pasqal-local", "environment": dict(warden.environment)},
            ]
            prepare(directory)
            running = stack.enter_context(start_site(resources, directory=directory, **options))
            yield CrashSite(running, ibm, warden, clock)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
