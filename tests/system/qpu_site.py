# SPDX-License-Identifier: Apache-2.0
"""A site with QPUs of every kind: real Slurm, the gateway, and vendors' servers in front of simulators."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster import USERS, Jobs, by_root

from qrmi_core import polling
from qrmi_core.admin_client import AdminClient
from qrmi_core.client_settings import ClientSettings
from qrmi_core.slurm.cluster import free_ports
from qrmi_core.slurm.site import COMMAND, Site

ROOT = Path(__file__).parents[2]
VENDORS = ROOT / "tests" / "vendors"
sys.path[:0] = [str(VENDORS), str(ROOT / "tests" / "unit" / "qiskit")]

QUICK = {"KillWait": "3", "EpilogMsgTime": "1"}
GATEWAY = {"grant_wait": 8, "kill_grace": 3, "poll_slurm": 1, "log_level": "debug"}
NODES = {"patience": 15, "holdoff": 3}


class QpuSite:
    """A site that runs, and what tests do with it."""

    def __init__(self, site: Site, vendors: Mapping[str, Any]) -> None:
        self.site = site
        self.vendors = vendors
        self.cluster = site.cluster

    def jobs(self, user: str | None = None) -> SiteJobs:
        """What an ordinary user does here; the first one where none is named."""
        return SiteJobs(self, (user or USERS[0]) if by_root() else None)

    def qrmi(self, *arguments: str, user: str | None = None, timeout: float = 60.0) -> str:
        """The output of a `qrmi` command that succeeds."""
        done = self.cluster.run(
            [self.site.python, "-P", "-c", COMMAND, *arguments], user=user, timeout=timeout,
            environment=self.site.environment(),
        )  # fmt: skip
        return done.stdout

    def leases(self) -> list[dict[str, Any]]:
        """What `qrmi leases` tells root."""
        found: list[dict[str, Any]] = json.loads(self.qrmi("leases", "--all", "--json"))
        return found

    def live_leases(self) -> list[dict[str, Any]]:
        """The same, asked without starting a command."""
        with self._admin() as client:
            return client.leases(everybody=True)

    def told_tasks(self) -> list[dict[str, Any]]:
        """The tasks that the gateway knows of, of all users."""
        with self._admin() as client:
            return client.usage(everybody=True)

    @contextlib.contextmanager
    def _admin(self) -> Iterator[AdminClient]:
        socket = str(self.cluster.places.socket("head"))
        client = AdminClient(ClientSettings(url=f"unix:{self.site.socket}", munge_socket=socket))
        try:
            yield client
        finally:
            client.close()

    def no_leases(self, *, timeout: float = 15.0) -> bool:
        """Wait until nothing is held for anybody."""
        return polling.wait_until(lambda: not self.live_leases(), timeout=timeout)

    def log(self, service: str = "gateway") -> str:
        return (self.cluster.places.log / f"{service}.log").read_text()


class SiteJobs(Jobs):
    """Jobs of one user, whose programs find this project."""

    def __init__(self, running: QpuSite, user: str | None) -> None:
        super().__init__(running.cluster, user)
        self.site = running.site
        self.python = running.site.python

    def run(self, *command: str, timeout: float = 30.0, **variables: str) -> Any:
        home = self.work / f"home-{self.user}"
        home.mkdir(exist_ok=True)
        if self.user is not None:
            shutil.chown(home, self.user)
        environment = self.site.environment(XDG_STATE_HOME=str(home), MPLCONFIGDIR=str(home), **variables)
        return self.cluster.run(command, user=self.user, timeout=timeout, check=False, environment=environment)


HOME = "127.0.0.1"


def doors_of(directory: Path, address: str) -> dict[str, Any]:
    """The keys of gateway.json with which jobs reach it at a free port of an address."""
    port = free_ports(1)
    return {
        "listen": {"admin": str(directory / "run" / "gateway" / "admin.sock"), "jobs": f"{address}:{port}"},
        # Each node has an address, and what runs there connects from another one.
        "node_addresses": {name: [HOME] for name in ("n1", "n2")},
        "pasqal_hook": str(ROOT / "qrmi_core" / "pasqal_hook"),
    }


@contextlib.contextmanager
def start_site(
    resources: list[dict[str, Any]],
    vendors: Mapping[str, Any] | None = None,
    *,
    gateway: Mapping[str, Any] | None = None,
    nodes: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    pools: list[dict[str, Any]] | None = None,
    directory: Path | None = None,
    doors: str | None = None,
    **cluster: Any,
) -> Iterator[QpuSite]:
    """A site of its own, in a directory that every user can enter; jobs reach its gateway at the address ``doors``."""
    directory = directory or Path(tempfile.mkdtemp(prefix="qrmi-site-", dir="/tmp"))
    directory.chmod(0o755)
    options = QUICK | cluster.pop("options", {})
    if doors:
        gateway = {**doors_of(directory, doors), **(gateway or {})}
    site = Site(
        directory, resources, pools=pools or [], gateway={**GATEWAY, **(gateway or {})}, environment=environment,
        options=options, node_settings={**NODES, **(nodes or {})}, **cluster,
    )  # fmt: skip
    try:
        with site:
            yield QpuSite(site, vendors or {})
    finally:
        if threading.current_thread() is threading.main_thread():
            shutil.rmtree(directory, ignore_errors=True)
