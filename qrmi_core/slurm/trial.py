# SPDX-License-Identifier: Apache-2.0
"""A site to try everything on: two nodes, simulators within jobs, and servers of three vendors' APIs as its QPUs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from qrmi_core import polling
from qrmi_core.slurm.daemons import DaemonFailed, Service
from qrmi_core.slurm.site import COMMAND, GATEWAY_USER, Site, make_gateway_user, python_for_everybody

__all__ = ["TrialSite"]

SIMULATED = {
    "aer_ideal": ("aer-simulator", 2),
    "aer_fez": ("aer-simulator", 2),
    "pulser_analog": ("pulser-simulator", 2),
}
EMULATED = {"ibm_fez": "ibm-quantum-compute-service", "fresnel": "pasqal-cloud", "ruby": "pasqal-local"}
DESCRIPTIONS = {
    "ibm_fez": "speaks as IBM's cloud does; a simulator computes",
    "fresnel": "speaks as Pasqal's cloud does; a simulator computes",
    "ruby": "speaks as Pasqal's Warden does; a simulator computes",
}
SERVERS_SECONDS = 60.0


class TrialSite:
    """It outlives the process that starts it; :meth:`stop` of another process ends it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._vendors = self.directory / "vendors"
        python, path = python_for_everybody()
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "XDG_STATE_HOME": str(self._vendors), **path}
        environment |= {"HOME": str(self._vendors), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
        user = GATEWAY_USER if os.geteuid() == 0 else None
        self._servers = {
            name: Service(name, [python, "-P", "-c", COMMAND, *self._arguments(name)], environment, user)
            for name in EMULATED
        }

    def _arguments(self, name: str) -> list[str]:
        arguments = ["emulate", "--dialect", EMULATED[name], "--name", name, "--output", str(self._entry(name))]
        if EMULATED[name] == "pasqal-local":
            arguments += ["--munge-socket", str(self.directory / "munge" / "head.sock")]
        return arguments

    def _entry(self, name: str) -> Path:
        return self._vendors / f"{name}.json"

    def _site(self, resources: list[dict[str, Any]]) -> Site:
        site = Site(self.directory, resources, doors=True)
        site.cluster.services.extend(self._servers.values())
        return site

    def start(self) -> Site:
        """Start what does not run; return when jobs can use it.

        Raises:
            QRMIError: something does not start, and why.
        """
        make_gateway_user()
        run, log = self.directory / "run", self.directory / "log"
        for directory in (self.directory, run, log, self._vendors):
            directory.mkdir(parents=True, exist_ok=True)
        self._vendors.chmod(0o700)
        if os.geteuid() == 0:
            shutil.chown(self._vendors, GATEWAY_USER, GATEWAY_USER)
        for name, server in self._servers.items():
            if server.pid(run) is None:
                self._entry(name).unlink(missing_ok=True)
                server.start(run, log)
        try:
            resources = [self._told(name, run, log) for name in EMULATED]
            resources += [
                {"name": name, "type": kind, "environment": {}, "lanes": lanes}
                for name, (kind, lanes) in SIMULATED.items()
            ]
            site = self._site(resources)
            site.start()
        except BaseException:
            self.stop()
            raise
        return site

    def _told(self, name: str, run: Path, log: Path) -> dict[str, Any]:
        """The entry for the configuration, which a server writes once it listens."""
        entry, server = self._entry(name), self._servers[name]
        polling.wait_until(lambda: entry.exists() or server.pid(run) is None, timeout=SERVERS_SECONDS)
        if not entry.exists():
            said = (log / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise DaemonFailed(f"the server of {name} does not start; it said: {''.join(said)} ({log / name}.log)")
        (told,) = json.loads(entry.read_text())["resources"]
        return {**told, "lanes": 1, "description": DESCRIPTIONS[name]}

    def stop(self) -> None:
        """End everything; the files stay."""
        if self.directory.is_dir():
            self._known().stop()

    def status(self) -> dict[str, int | None]:
        """The process of each daemon and service, None where it does not run."""
        return self._known().cluster.status()

    def _known(self) -> Site:
        site = self._site([])
        site.cluster.services.extend([site.helper, site.gateway])
        return site
