# SPDX-License-Identifier: Apache-2.0
"""The directory of a private cluster, written as a site's administrators would: each file with its owner and mode."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrmi_core.environment import child_environment
from qrmi_core.errors import ConfigurationError
from qrmi_core.slurm import cluster_files, files
from qrmi_core.slurm.cluster_files import Node, Places
from qrmi_core.slurm.plugin import plugin_version

__all__ = ["ClusterDirectory", "known_port"]

LONGEST_SOCKET = 107
BUILD_SECONDS = 100.0


@dataclass(frozen=True)
class ClusterDirectory:
    """What stays the same while a cluster exists; see :class:`qrmi_core.slurm.cluster.Cluster`."""

    places: Places
    nodes: Sequence[Node]
    port: int
    cpus: int
    slurm_user: str
    slurmd_user: str
    munge_user: str
    prolog: bool
    node_settings: Mapping[str, object]
    python: str

    def check_place(self) -> None:
        """See that the directory does.

        Raises:
            ConfigurationError: it is somebody else's, its path is too long, or others cannot enter it.
        """
        directory = self.places.directory
        if directory.is_symlink() or (directory.exists() and directory.stat().st_uid != os.geteuid()):
            raise ConfigurationError(f"{directory}: belongs to somebody else, or is a link; take another directory")
        if len(str(self.places.socket("head"))) > LONGEST_SOCKET:
            raise ConfigurationError(f"{directory}: too long a path for munge's sockets; take a shorter one")
        for parent in directory.parents if os.geteuid() == 0 else ():
            if parent.exists() and not parent.stat().st_mode & 0o001:
                raise ConfigurationError(
                    f"{directory}: users cannot enter {parent}, and their jobs run from there; take one under /tmp"
                )

    def write(self, qpus: Mapping[str, int], reasons: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Write all files; keys, logs and Slurm's own state are kept.

        Raises:
            ConfigurationError: the plugin does not compile, or files of this package are missing.
        """
        places = self.places
        for path in (places.directory, places.etc, places.munge, places.controller, places.log, places.run, places.lib,
                     places.work):  # fmt: skip
            _directory(path, 0o755)
        places.work.chmod(0o1777)
        self._write_key()
        _own(self.slurm_user, places.controller, places.run)
        _own(self.munge_user, places.munge)
        self._write_shipped()
        conf = cluster_files.common_conf(
            places, self.nodes, controller_port=self.port, slurm_user=self.slurm_user, slurmd_user=self.slurmd_user,
            cpus=self.cpus, licences=cluster_files.licences_of(qpus), options=options,
        )  # fmt: skip
        _write(places.common_conf, conf)
        _write(places.etc / "qrmi_qpus.lua", cluster_files.qpu_table(qpus, reasons))
        _write(places.directory / "cluster.json", json.dumps({"port": self.port, "nodes": len(self.nodes)}) + "\n")
        self._write_head()
        for node in self.nodes:
            self._write_node(node)
        if plugin_version(places.plugin) >= cluster_files.ASKS_FOR_CGROUPS:
            for conf_directory in (places.etc, *(node.slurm_conf.parent for node in self.nodes)):
                _write(conf_directory / "cgroup.conf", cluster_files.CGROUP_CONF)

    def _write_head(self) -> None:
        places = self.places
        head = places.directory / "node" / "head"
        _directory(head, 0o755)
        epilog = self._front("qrmi-epilogslurmctld", "head", head, places.slurm_conf)
        _write(places.slurm_conf, cluster_files.head_conf(places, epilog=epilog))
        _write(places.etc / "plugstack.conf", f"optional {places.plugin}\n")

    def _write_node(self, node: Node) -> None:
        _directory(node.directory, 0o755)
        _directory(node.directory / "spool", 0o755)
        _directory(node.state, 0o700)
        prolog, epilog = (
            self._front(name, node.name, node.directory, node.slurm_conf, STATE_DIR=str(node.state))
            for name in ("qrmi-prolog", "qrmi-epilog")
        )
        _write(node.slurm_conf, cluster_files.node_conf(self.places, node, prolog=prolog, epilog=epilog))
        _write(node.plugstack, f"optional {self.places.plugin} state_dir={node.state}\n")

    def _front(self, name: str, host: str, directory: Path, conf: Path, **values: str) -> Path | None:
        """One of the scripts that Slurm calls, and its node.json; None in a cluster without them."""
        if not self.prolog:
            return None
        config, state = directory / "node.json", values.get("STATE_DIR", str(directory))
        _write(config, cluster_files.node_json(self.places, host, state, conf, self.node_settings))
        values |= {"NODE_CONFIG": str(config), "PYTHON": self.python, "LIB": str(self.places.lib)}
        script = files.shipped()[f"node/{name}"].decode()
        _write(directory / name, cluster_files.filled_in(script, values, name=name), mode=0o755)
        return directory / name

    def _write_shipped(self) -> None:
        shipped = files.shipped()
        _write(self.places.etc / "job_submit.lua", shipped["job_submit.lua"].decode())
        source = self.places.lib / "spank"
        _directory(source, 0o755)
        for name in (each for each in shipped if each.startswith("spank/")):
            _write(self.places.lib / name, shipped[name].decode())
        build = ["make", "--silent", "-C", str(source), f"PLUGIN={self.places.plugin}"]
        done = subprocess.run(
            build, env=child_environment(), capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
        if done.returncode:
            raise ConfigurationError(f"the SPANK plugin does not compile ({' '.join(build)}): {done.stderr.strip()}")
        if self.prolog:
            _write(self.places.lib / "qrmi_node.py", shipped["node/qrmi_node.py"].decode())

    def _write_key(self) -> None:
        key = self.places.key
        if not key.exists():
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(128))
        _own(self.munge_user, key)


def known_port(places: Places) -> int | None:
    """The first port of the cluster that was in this directory before."""
    try:
        return int(json.loads((places.directory / "cluster.json").read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own(user: str, *paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            shutil.chown(path, user, user)


def _directory(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace the file at once, unless it has that text already: Slurm may read it at any time."""
    if path.exists() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)
