# SPDX-License-Identifier: Apache-2.0
"""A whole site on one host: a private cluster, the gateway with its root helper, and the QPUs of a configuration."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qrmi_core import polling
from qrmi_core.errors import QRMIError
from qrmi_core.slurm.cluster import Cluster
from qrmi_core.slurm.cluster_files import HEAD_ADDRESS
from qrmi_core.slurm.daemons import DaemonFailed, Service
from qrmi_core.vendor_environment import HOOK

__all__ = ["COMMAND", "GATEWAY_USER", "Site", "make_gateway_user", "python_for_everybody"]

GATEWAY_USER = "qrmi"
LISTENING_SECONDS = 30.0
DEBIANS = "/usr/bin/python3"
COMMAND = "import sys; from qrmi_core.cli import main; sys.argv[0] = 'qrmi'; main()"


def python_for_everybody() -> tuple[str, dict[str, str]]:
    """An interpreter that every user can run, and the variables with which it finds what this one has installed.

    An interpreter below somebody's home is no use to the users of a cluster; the system's own is, if it is of the same
    version and the packages can be read.

    Raises:
        QRMIError: there is none.
    """
    if os.geteuid() != 0 or _for_others(Path(sys.executable).resolve()):
        return sys.executable, {}
    packages = [path for path in sys.path if path and Path(path).name == "site-packages"]
    own = str(Path(__file__).parents[2])
    usable = [path for path in [*packages, own] if _for_others(Path(path))]
    version = f"python3.{sys.version_info.minor}"
    if len(usable) == len(packages) + 1 and Path(DEBIANS).resolve().name == version:
        return DEBIANS, {"PYTHONPATH": os.pathsep.join(usable)}
    raise QRMIError(
        f"users of the cluster cannot run {sys.executable}: install this package where all may read it, with an "
        f"interpreter outside of a home directory"
    )


def _for_others(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in [path, *path.parents] if each.is_dir()) and bool(
        path.stat().st_mode & 0o004
    )


class Site:
    """A context manager that starts and stops it all.

    Args:
        directory: where all of it lies; every user must be able to enter it.
        resources: the entries of qrmi_config.json.
        pools: its pools.
        gateway: keys of gateway.json that differ from the defaults.
        environment: more variables for the gateway's process.
        doors: jobs reach the gateway, so that they need no vendor's credential.
        cluster: arguments of :class:`Cluster` that differ from its defaults.
    """

    def __init__(
        self,
        directory: Path,
        resources: Sequence[Mapping[str, Any]],
        *,
        pools: Sequence[Mapping[str, Any]] = (),
        gateway: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        doors: bool = False,
        **cluster: Any,
    ) -> None:
        lanes = {each["name"]: each.get("lanes", 1) for each in resources}
        lanes |= {pool["name"]: pool.get("lanes") or sum(lanes[name] for name in pool["members"]) for pool in pools}
        self._lanes = lanes
        self.cluster = Cluster(directory, qpus=lanes, **cluster)
        self._document = {"resources": list(resources), **({"pools": list(pools)} if pools else {})}
        self._doors = doors
        self._more = dict(gateway or {})
        self._by_root = os.geteuid() == 0
        self.python, self.python_path = python_for_everybody()
        etc, run = self.cluster.places.etc, self.cluster.places.run
        self.qrmi_config = etc / "qrmi_config.json"
        self.gateway_config = etc / "gateway.json"
        self.client_config = etc / "client.json"
        self.state_dir = directory.absolute() / "gateway"
        self.socket = run / "gateway" / "admin.sock"
        self.helper_socket = run / "helper" / "helper.sock"
        environ = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "SLURM_CONF": str(self.cluster.slurm_conf)}
        environ |= {"HOME": str(self.state_dir), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", **self.python_path}
        qrmi = [self.python, "-P", "-c", COMMAND, "gateway"]
        user = GATEWAY_USER if self._by_root else None
        self.helper = Service("helper", [*qrmi, "helper", "--config", str(self.gateway_config)], environ)
        self.gateway = Service(
            "gateway", [*qrmi, "serve", "--config", str(self.gateway_config)], environ | dict(environment or {}), user
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the cluster, the helper and the gateway; return when the gateway listens.

        Raises:
            QRMIError: something does not start, and why.
        """
        make_gateway_user()
        self.cluster.start()
        try:
            self._write()
            if self._by_root:
                self.cluster.add_service(self.helper)
            self.cluster.add_service(self.gateway)
            self.wait_for_gateway()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything; the files stay."""
        self.cluster.stop()

    def start_gateway(self) -> None:
        """Start it again after it was ended."""
        self.gateway.start(self.cluster.places.run, self.cluster.places.log)
        self.wait_for_gateway()

    def wait_for_gateway(self) -> None:
        """Wait until the gateway listens.

        Raises:
            DaemonFailed: it does not, and what it said last.
        """
        places = self.cluster.places

        def settled() -> bool:
            return self.listens() or self.gateway.pid(places.run) is None

        if not polling.wait_until(settled, timeout=LISTENING_SECONDS) or not self.listens():
            log = places.log / "gateway.log"
            said = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise DaemonFailed(f"the gateway does not listen; it said: {' / '.join(said)} ({log})")

    def listens(self) -> bool:
        """Whether somebody accepts connections at the gateway's socket."""
        import socket

        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def environment(self, **more: str) -> dict[str, str]:
        """An environment in which Slurm's commands and `qrmi` find the site."""
        site = {"QRMI_CLIENT_CONFIG": str(self.client_config), **self.python_path}
        return self.cluster.environment(**site, **more)

    def _door_settings(self) -> dict[str, Any]:
        jobs = f"{HEAD_ADDRESS}:{self.cluster.spare_port}"
        return {
            "listen": {"admin": str(self.socket), "jobs": jobs},
            # Each node has an address of its own, and what runs there connects from the host's.
            "node_addresses": {node.name: [HEAD_ADDRESS] for node in self.cluster.nodes},
            # Nodes and the gateway are on one host here, so they have this installation.
            "pasqal_hook": str(HOOK),
        }

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The QPUs and pools that jobs may ask for, as client.json tells users of them."""
        types = {each["name"]: each["type"] for each in self._document["resources"]}
        return [
            {
                "name": each["name"],
                "type": types[each["members"][0]] if "members" in each else each["type"],
                "lanes": self._lanes[each["name"]],
                "description": each.get("description", ""),
            }
            for each in (*self._document["resources"], *self._document.get("pools", ()))
        ]

    def _write(self) -> None:
        places = self.cluster.places
        self.state_dir.mkdir(exist_ok=True)
        self.state_dir.chmod(0o700)
        for directory in (self.socket.parent, self.helper_socket.parent):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        settings = {
            "qrmi_config": str(self.qrmi_config),
            "state_dir": str(self.state_dir),
            "slurm_conf": str(self.cluster.slurm_conf),
            "munge_socket": str(places.socket("head")),
            "listen": {"admin": str(self.socket)},
            **({"helper_socket": str(self.helper_socket)} if self._by_root else {}),
            **(self._door_settings() if self._doors else {}),
            **self._more,
        }
        client = {"url": f"unix:{self.socket}", "munge_socket": str(places.socket("head")), "resources": self.listed}
        _write_private(self.qrmi_config, self._document)
        _write_private(self.gateway_config, settings)
        self.client_config.write_text(json.dumps(client, indent=2) + "\n")
        self.client_config.chmod(0o644)
        if self._by_root:
            user, group = pwd.getpwnam(GATEWAY_USER), grp.getgrnam(GATEWAY_USER)
            for path in (self.state_dir, self.socket.parent, self.qrmi_config):
                shutil.chown(path, user.pw_uid, group.gr_gid)
            # The helper acts on this one as root, so nobody else may change it.
            shutil.chown(self.gateway_config, 0, group.gr_gid)
            self.gateway_config.chmod(0o640)


def make_gateway_user() -> None:
    """As root, add the gateway's user, without a home or a shell, unless it is there."""
    if os.geteuid() != 0:
        return
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", GATEWAY_USER]
    if not _is_there(GATEWAY_USER):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode and not _is_there(GATEWAY_USER):
            raise QRMIError(f"the user {GATEWAY_USER} of the gateway cannot be added: {done.stderr.strip()}")


def _is_there(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Credentials stand in it."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(document, indent=2) + "\n")
