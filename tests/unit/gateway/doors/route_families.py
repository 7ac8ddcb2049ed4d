# SPDX-License-Identifier: Apache-2.0
"""Sites with two QPUs behind each door, and jobs that have something there which others may want."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import felis_case
import iqm_case
import pasqal_cloud_case
import pasqal_local_case
from doored import Doored, Job, doored
from helper_site import _SERVE
from ibm_site import cloud, entry, job_body
from ibm_system_case import start as machine
from munge_daemon import Munged, munged
from route_cases import TABLES, Ask
from vendor_site import Site

from qrmi_core import JobContext, munge, polling
from qrmi_core.drivers.felis import AliceBobFelisDriver
from qrmi_core.drivers.iqm import IQMServerDriver
from qrmi_core.gateway.helper_client import HelperClient

__all__ = ["FAMILIES", "Family", "Started"]

NOBODY = "00000000-0000-4000-8000-000000000000"
PATIENCE = 60.0


@dataclass
class Started:
    """A gateway, its vendor's server, and who makes munge credentials for users, where that is needed."""

    gateway: Doored
    vendor: Site
    helper: HelperClient | None = None


class Family(ABC):
    """One door: what is asked of its routes, and how a job comes to have something there."""

    qpus = ("first_qpu", "second_qpu")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.table = TABLES[kind]

    @abstractmethod
    def vendor(self) -> AbstractContextManager[Site]:
        """Its vendor's server."""

    @abstractmethod
    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        """Have a job of Slurm's do something; what it has then, by the words of the table."""

    nobodys: ClassVar[Mapping[str, str]]
    """Ids of the same form that nobody has."""

    def entry(self, name: str, vendor: Site) -> Mapping[str, Any]:
        """One of its QPUs in the site's configuration."""
        values = {**vendor.environment, "QRMI_MIN_POLL": "0"}
        return {"name": name, "type": self.kind, "lanes": 50, "access": "gateway", "environment": values}

    @contextlib.contextmanager
    def started(self, directory: Path, daemons: Munged) -> Iterator[Started]:
        """A site with both QPUs."""
        with (
            self.vendor() as vendor,
            doored(directory, daemons.socket, [self.entry(name, vendor) for name in self.qpus]) as gateway,
        ):
            yield Started(gateway, vendor)

    def credential(self, started: Started, token: str, uid: int, ask: Ask) -> dict[str, str]:
        """The headers with which somebody comes in."""
        return {"Authorization": f"Bearer {token}"}


class OfIBM(Family):
    """A door where jobs see IBM's cloud."""

    nobodys: ClassVar[Mapping[str, str]] = {
        "job": "d0000000000000000000",
        "session": NOBODY,
        "instance": "crn:v1:nobodys",
        "tag": "tag-of-nobody",
    }

    def vendor(self) -> AbstractContextManager[Site]:
        return machine() if self.kind == "ibm-quantum-system" else cloud()

    def entry(self, name: str, vendor: Site) -> Mapping[str, Any]:
        if self.kind == "ibm-quantum-system":
            return super().entry(name, vendor)
        return entry(name, vendor, old=self.kind == "qiskit-runtime-service")

    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        at = f"/r/{qpu}/api/v1"
        session = job.ask("POST", f"{at}/sessions", {"mode": "batch", "backend": qpu})[1]["id"]
        task = job.ask("POST", f"{at}/jobs", job_body(backend=qpu, tags=[tag]))[1]["id"]

        def has_ended() -> bool:
            told = job.ask("GET", f"{at}/jobs/{task}?exclude_params=true")[1]
            return bool(told["state"]["status"] == "Completed")

        assert polling.wait_until(has_ended, timeout=PATIENCE)
        instance = started.vendor.environment.get("QRMI_IBM_QCS_SERVICE_CRN", "crn:v1:of the site")
        return {"job": task, "session": session, "tag": tag, "instance": instance}


class OfPasqal(Family):
    """Pasqal's cloud."""

    nobodys: ClassVar[Mapping[str, str]] = {
        "batch": NOBODY,
        "job": NOBODY,
        "link": "nothing",
        "tag": "tag-of-nobody",
    }

    def vendor(self) -> AbstractContextManager[Site]:
        return pasqal_cloud_case.CASE.start()

    def sequence(self) -> str:
        """What its QPU runs."""
        text: str = pasqal_cloud_case.rabi(math.pi).to_abstract_repr()
        return text

    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        core = f"/r/{qpu}/core-fast/api"
        body = {"sequence_builder": self.sequence(), "jobs": [{"runs": 10}], "open": True, "tags": [tag]}
        batch = job.ask("POST", f"{core}/v1/batches", {**body, "project_id": "x"})[1]["data"]["id"]
        job.ask("GET", f"{core}/v1/batches/{batch}/status")
        task = job.ask("GET", f"{core}/v2/jobs?batch_id={batch}")[1]["data"][0]["id"]
        link = job.ask("GET", f"{core}/v1/jobs/{task}/results_link")[1]["data"]["results_link"]
        return {"batch": batch, "job": task, "link": link.rpartition("/")[2], "tag": tag}


class OfWarden(OfPasqal):
    """A Warden, with its own API and that of Pasqal's cloud."""

    nobodys: ClassVar[Mapping[str, str]] = {**OfPasqal.nobodys, "number": str(2**30), "session": NOBODY}

    def sequence(self) -> str:
        text: str = pasqal_local_case.pulse(math.pi).to_abstract_repr()
        return text

    @contextlib.contextmanager
    def started(self, directory: Path, daemons: Munged) -> Iterator[Started]:
        directory.chmod(0o755)
        socket = str(directory / "helper.sock")
        with (
            munged() as own,
            pasqal_local_case.warden(own) as vendor,
            doored(
                directory, own.socket, [self.entry(name, vendor) for name in self.qpus], helper_socket=socket
            ) as gateway,
            _helping(gateway) as helper,
        ):
            Path(own.socket).parent.chmod(0o755)
            yield Started(gateway, vendor, helper)

    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        has = super().made(started, job, qpu, tag)
        record = started.gateway.keeper.current(job.lease)
        assert record is not None
        assert record.holder is not None
        session = record.acquisition(qpu).token or ""
        headers = self.munge(started, record.holder.uid) | {"X-Warden-Session": session}
        body = {"sequence": self.sequence(), "shots": 5}
        number = job.ask("POST", f"/r/{qpu}/jobs", body, headers=headers)[1]["id"]
        return {**has, "session": session, "number": str(number)}

    def credential(self, started: Started, token: str, uid: int, ask: Ask) -> dict[str, str]:
        return self.munge(started, uid) if ask.munge else super().credential(started, token, uid, ask)

    def munge(self, started: Started, uid: int) -> dict[str, str]:
        """What a program of a user's sends to Warden."""
        assert started.helper is not None
        own = uid == os.getuid()  # who has no job: the helper makes credentials for users with a lease only
        made = munge.encode(b"", socket=started.gateway.munge_socket) if own else started.helper.munge_user(uid)
        return {"Authorization": "", "X-Munge-Cred": made}


class OfIQM(Family):
    """IQM Servers."""

    nobodys: ClassVar[Mapping[str, str]] = {"job": NOBODY, "computer": "nobodys"}

    def vendor(self) -> AbstractContextManager[Site]:
        return iqm_case.CASE.start()

    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        driver = IQMServerDriver.from_environment(qpu, _values(job, qpu), JobContext())
        task = driver.submit(iqm_case.numbered(3))
        task.result(timeout=PATIENCE)
        return {"job": task.id, "computer": "iqm:somebodys"}


class OfFelis(Family):
    """Alice & Bob's cloud."""

    nobodys: ClassVar[Mapping[str, str]] = {"job": NOBODY, "computer": "QPU:1Q:NOBODYS"}

    def vendor(self) -> AbstractContextManager[Site]:
        return felis_case.CASE.start()

    def made(self, started: Started, job: Job, qpu: str, tag: str) -> dict[str, str]:
        driver = AliceBobFelisDriver.from_environment(qpu, _values(job, qpu), JobContext())
        task = driver.submit(felis_case.payload(3))
        task.result(timeout=PATIENCE)
        return {"job": task.id, "computer": "QPU:1Q:BOSON_4A"}

    def credential(self, started: Started, token: str, uid: int, ask: Ask) -> dict[str, str]:
        return {"Authorization": f"Basic {token}"}


FAMILIES: Mapping[str, type[Family]] = {
    "ibm-quantum-compute-service": OfIBM,
    "qiskit-runtime-service": OfIBM,
    "ibm-quantum-system": OfIBM,
    "pasqal-cloud": OfPasqal,
    "pasqal-local": OfWarden,
    "iqm-server": OfIQM,
    "alice-bob-felis": OfFelis,
}
"""By the type of the resources behind the door."""


def _values(job: Job, qpu: str) -> dict[str, str]:
    return {
        name.removeprefix(f"{qpu}_"): value
        for name, value in job.environment.items()
        if name.startswith(f"{qpu}_QRMI_")
    }


@contextlib.contextmanager
def _helping(case: Doored) -> Iterator[HelperClient]:
    """The root helper of a gateway."""
    log = case.directory / "helper.log"
    command = [sys.executable, "-c", _SERVE, str(case.file)]
    with log.open("wb") as out, subprocess.Popen(command, stderr=out, env=os.environ) as process:
        try:
            assert polling.wait_until(lambda: process.poll() is not None or "for user 0" in log.read_text(), timeout=20)
            assert process.poll() is None, log.read_text()
            yield HelperClient(case.settings["helper_socket"])
        finally:
            process.terminate()
