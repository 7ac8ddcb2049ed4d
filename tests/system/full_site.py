# SPDX-License-Identifier: Apache-2.0
"""A site with a QPU of each kind: simulators in the job, IBM's cloud and system, Pasqal's cloud, and Warden."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster import all_idle, make_users
from qpu_site import QpuSite, SiteJobs, start_site

import ibm_compute_case  # isort: skip  qpu_site makes it importable
import ibm_system_case  # isort: skip
import pasqal_cloud_case  # isort: skip
import pasqal_local_case  # isort: skip
from vendor_site import Clock  # isort: skip
from vendor_site import Site as VendorSite  # isort: skip
from vendor_site import site as vendor_site  # isort: skip

from qrmi_core import QuantumResource, polling
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.tasks import TaskStatus

__all__ = ["EXAMPLES", "LONG", "REMOTE", "ROOT", "FullSite", "full_site"]

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
LONG = 600.0

REMOTE = ("ibm_fez", "ibm_kobe", "FRESNEL", "orion")
EXAMPLES = {
    "aer_ideal": "qiskit_bell",
    "aer_fez": "qiskit_bell",
    "pulser_analog": "pulser_ring",
    "ibm_fez": "qiskit_bell",
    "ibm_kobe": "qiskit_bell",
    "FRESNEL": "pulser_ring",
    "orion": "pulser_ring",
}
"""The example that runs on each QPU."""

SECRET = ("APIKEY", "SECRET", "PASSWORD", "TOKEN", "ACCESS_KEY")
"""Words in the names of the variables that hold credentials."""

SIMULATORS = [
    {"name": "aer_ideal", "type": "aer-simulator", "environment": {"QRMI_AER_SNAPSHOT": "ideal"}, "lanes": 3},
    {"name": "aer_fez", "type": "aer-simulator", "environment": {"QRMI_AER_SNAPSHOT": "fez"}},
    {"name": "pulser_analog", "type": "pulser-simulator", "environment": {"QRMI_PULSER_DEVICE": "AnalogDevice"}},
]


class FullSite:
    """The site, its vendors by the name of their QPU, and what tests ask of them."""

    def __init__(self, running: QpuSite, vendors: Mapping[str, VendorSite], clock: Clock) -> None:
        self.running = running
        self.cluster = running.cluster
        self.vendors = vendors
        self.clock = clock
        self.python = running.site.python
        self.work = running.cluster.places.work
        self.payloads = self.work / "payloads"
        self.payloads.mkdir()
        sampler = ibm_compute_case.sampler_payload(5).parameters
        of_cloud, of_site = pasqal_cloud_case.batch(1).sequence, pasqal_local_case.payload(1).sequence
        by_type = {"pasqal-cloud": of_cloud, "pasqal-local": of_site, "pulser-simulator": of_site}
        for name, kind in self.types.items():
            (self.payloads / name).write_bytes(by_type.get(kind, sampler))
        self._bin = self.cluster.places.directory / "bin"
        self._write_commands()

    @property
    def types(self) -> dict[str, str]:
        """The type of each QPU."""
        simulators = {each["name"]: each["type"] for each in SIMULATORS}
        return simulators | {name: vendor.emulator.type for name, vendor in self.vendors.items()}

    def _write_commands(self) -> None:
        """`python` and `qrmi` as in an environment that the user has activated."""
        self._bin.mkdir()
        qrmi = "-c \"import sys; from qrmi_core.cli import main; sys.argv[0] = 'qrmi'; main()\""
        for name, more in (("python", ""), ("qrmi", qrmi)):
            file = self._bin / name
            file.write_text(f'#!/bin/sh\nexec {self.python} -P {more} "$@"\n')
            file.chmod(0o755)
        (self.work / "examples").symlink_to(ROOT / "examples")

    def credentials(self) -> dict[str, str]:
        """What the site has of its vendors that no job may see: each secret, and whose it is."""
        return {
            value: name
            for name, vendor in self.vendors.items()
            for variable, value in vendor.environment.items()
            if any(word in variable for word in SECRET)
        }

    def jobs(self) -> FullJobs:
        """What an ordinary user does here."""
        jobs = FullJobs(self.running, self.running.jobs().user)
        jobs.path = f"{self._bin}:{os.defpath}"
        return jobs

    def program(self, name: str = "tasks_on_each.py") -> str:
        """The command line of a program of a user's."""
        return f"python {PROGRAMS / name} {self.payloads}"

    def leases(self) -> list[dict[str, Any]]:
        """The live leases, as root sees them."""
        return self.running.live_leases()

    def sessions(self) -> dict[str, bool]:
        """Each session that a vendor was asked for, and whether it is open, as the vendor itself knows."""
        ibm: Any = self.vendors["ibm_fez"].emulator.dialect
        warden: Any = self.vendors["orion"].emulator.dialect
        found = {key: session.state != "closed" for key, session in dict(ibm._sessions).items()}
        return found | {key: not session.revoked for key, session in dict(warden._sessions).items()}

    def tasks(self, name: str) -> dict[str, TaskStatus]:
        """The status of each task that the device behind a vendor's server was given, as the server tells it."""
        emulator = self.vendors[name].emulator
        device = emulator.device
        known = [*device._ends, *device._cancelled]
        return {task: device._delayed(task, device.resource.task_info(task)).status for task in known}

    def runs(self, name: str) -> int:
        """How much the device behind a vendor's server has been given to run."""
        return self.vendors[name].emulator.device.runs

    def nothing_is_left(self) -> None:
        """No lease, no open session, no task that runs, no state file, and all nodes are well."""
        assert polling.wait_until(lambda: not self.leases(), timeout=20), (self.leases(), self.running.log()[-3000:])
        assert not any(self.sessions().values()), self.sessions()
        running = {name: self.tasks(name) for name in REMOTE}
        assert all(status.is_final for tasks in running.values() for status in tasks.values()), running
        assert all_idle(self.cluster), self.cluster.run(["sinfo", "-N", "-l"]).stdout
        left = [file for node in self.cluster.nodes for file in node.state.iterdir()]
        assert left == []


class FullJobs(SiteJobs):
    """Jobs of one user, who has the commands of this project in PATH."""

    path = ""

    def run(self, *command: str, timeout: float = 30.0, **variables: str) -> Any:
        return super().run(*command, timeout=timeout, **{**self.own, **variables})

    @property
    def own(self) -> dict[str, str]:
        """What a user's shell has exported."""
        return {"PATH": self.path, "MPLBACKEND": "Agg"}

    def environment(self) -> dict[str, str]:
        """The environment in which this user submits jobs."""
        home = str(self.work / f"home-{self.user}")
        return self.site.environment(**{**self.own, "XDG_STATE_HOME": home, "MPLCONFIGDIR": home})

    def submit_file(self, script: str, *options: str, **variables: str) -> int:
        """Submit one of the examples' scripts as it is, with more options."""
        where = ["-D", str(self.work), "-o", f"{self.work}/%j.out"]
        done = self.run("sbatch", "--parsable", *where, *options, f"examples/{script}", **variables)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def completed(self, *jobs: int | str, timeout: float = 60.0) -> list[str]:
        """Wait for jobs that end well; their outputs."""
        for job in jobs:
            ended = self.ended(job, timeout=timeout)
            assert ended["JobState"] == "COMPLETED", (self.output(job), ended)
        return [self.output(job) for job in jobs]


@contextlib.contextmanager
def full_site(
    *,
    keys: Mapping[str, Mapping[str, str]] | None = None,
    engines: Mapping[str, QuantumResource] | None = None,
    **options: Any,
) -> Iterator[FullSite]:
    """Start it all; the vendors' servers run in this process.

    ``keys`` are more of a QPU's entry; ``engines`` are what stands behind the servers of IBM, by the QPU.
    """
    make_users()
    directory = Path(tempfile.mkdtemp(prefix="qrmi-full-", dir="/tmp"))
    directory.chmod(0o755)
    clock = Clock()
    munge = DialectOptions(munge_socket=str(directory / "munge" / "head.sock"), without=frozenset({"cancel", "logs"}))
    try:
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            of_ibm: dict[str, Any] = {name: {"engine": engine} for name, engine in (engines or {}).items()}
            vendors = {
                "ibm_fez": enter(ibm_compute_case.CASE.start(service_time=clock, **of_ibm.get("ibm_fez", {}))),
                "ibm_kobe": enter(ibm_system_case.start(service_time=clock, **of_ibm.get("ibm_kobe", {}))),
                "FRESNEL": enter(pasqal_cloud_case.CASE.start(service_time=clock)),
                "orion": enter(vendor_site("pasqal-local", options=munge, service_time=clock)),
            }
            remote = [
                {"name": name, "type": vendor.emulator.type, "environment": dict(vendor.environment)}
                | dict((keys or {}).get(name, {}))
                for name, vendor in vendors.items()
            ]
            running = enter(start_site([*SIMULATORS, *remote], directory=directory, **options))
            assert str(running.cluster.places.socket("head")) == munge.munge_socket
            yield FullSite(running, vendors, clock)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
