# SPDX-License-Identifier: Apache-2.0
"""The files of a private cluster: where each lies, and what stands in those that Slurm reads.

Every node has a slurm.conf of its own, since munge's socket, the plugin's arguments and the prolog differ by node where
all nodes are on one host; what is common stands in ``common.conf``, which each includes.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrmi_core.errors import ConfigurationError
from qrmi_core.names import licence
from qrmi_core.slurm.configure import lua_string

__all__ = [
    "Node",
    "Places",
    "common_conf",
    "filled_in",
    "head_conf",
    "licences_of",
    "node_conf",
    "node_json",
    "qpu_table",
]

HEAD_ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """One compute node; ``number`` begins with 1."""

    number: int
    port: int
    directory: Path

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def address(self) -> str:
        """The loopback address that is this node's own, for Slurm and for munge."""
        return f"127.0.0.{self.number + 1}"

    @property
    def slurm_conf(self) -> Path:
        return self.directory / "slurm.conf"

    @property
    def plugstack(self) -> Path:
        return self.directory / "plugstack.conf"

    @property
    def state(self) -> Path:
        """Where the prolog leaves state files, and SPANK reads them."""
        return self.directory / "state"

    @property
    def config(self) -> Path:
        """The node.json of this node's prolog."""
        return self.directory / "node.json"


class Places:
    """Where the files of a cluster lie."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.etc = directory / "etc"
        self.munge = directory / "munge"
        self.controller = directory / "controller"
        self.log = directory / "log"
        self.run = directory / "run"
        self.lib = directory / "lib"
        self.work = directory / "work"
        """Where every user may write: the working directory of jobs."""
        self.slurm_conf = self.etc / "slurm.conf"
        self.common_conf = self.etc / "common.conf"
        self.plugin = self.lib / "qrmi_spank.so"
        self.key = self.munge / "key"

    def socket(self, host: str) -> Path:
        """Munge's socket of ``head`` or of a node."""
        return self.munge / f"{host}.sock"

    def pid_file(self, daemon: str) -> Path:
        return self.run / f"{daemon}.pid"


def licences_of(qpus: Mapping[str, int]) -> str:
    """``{"ibm_fez": 2}`` as ``qpu_ibm_fez:2``."""
    return ",".join(f"{licence(name)}:{lanes}" for name, lanes in qpus.items())


def qpu_table(qpus: Mapping[str, int], reasons: Mapping[str, str]) -> str:
    """The table that job_submit.lua reads, with the reasons for which QPUs are out of service."""
    rows = []
    for name, lanes in qpus.items():
        reason = f", reason = {lua_string(reasons[name])}" if name in reasons else ""
        rows.append(f"    [{lua_string(name.lower())}] = {{ name = {lua_string(name)}, lanes = {lanes}{reason} }},\n")
    return f"return {{ qpus = {{\n{''.join(rows)}}} }}\n"


def common_conf(
    places: Places,
    nodes: Sequence[Node],
    *,
    controller_port: int,
    slurm_user: str,
    slurmd_user: str,
    cpus: int,
    licences: str,
    options: Mapping[str, str],
) -> str:
    """What the controller, the nodes and the clients share; ``options`` replace lines or add some."""
    lines = {
        "ClusterName": "qrmi",
        "SlurmctldHost": f"{socket.gethostname().split('.')[0]}({HEAD_ADDRESS})",
        "SlurmctldPort": str(controller_port),
        "SlurmUser": slurm_user,
        "SlurmdUser": slurmd_user,
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        # the nodes' files differ on purpose
        "DebugFlags": "NO_CONF_HASH",
        "CommunicationParameters": "NoCtldInAddrAny",
        "StateSaveLocation": str(places.controller),
        "SlurmctldPidFile": str(places.pid_file("slurmctld")),
        "SlurmctldLogFile": str(places.log / "slurmctld.log"),
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "bf_interval=1,sched_interval=5,sched_min_interval=0,batch_sched_delay=0,bf_licenses",
        # more CPUs than the host has
        "SlurmdParameters": "config_overrides",
        "ReturnToService": "2",
        "MinJobAge": "600",
        "KillWait": "30",
        "SlurmdTimeout": "15",
        "InactiveLimit": "0",
        "PrologFlags": "Alloc",
        "PrologEpilogTimeout": "60",
        "BatchStartTimeout": "90",
        "LaunchParameters": "use_interactive_step",
        "JobSubmitPlugins": "lua",
        **({"Licenses": licences} if licences else {}),
        **options,
    }
    text = [f"{name}={value}" for name, value in lines.items()]
    text += [
        f"NodeName={node.name} NodeHostname={node.name} NodeAddr={node.address} Port={node.port} CPUs={cpus} "
        f"RealMemory=2000 State=UNKNOWN"
        for node in nodes
    ]
    names = ",".join(node.name for node in nodes)
    text += [f"PartitionName=main Nodes={names} Default=YES MaxTime=1440 DefaultTime=5 State=UP OverSubscribe=NO", ""]
    return "\n".join(text)


ASKS_FOR_CGROUPS = (23, 11)
"""From this version of Slurm on, slurmd wants control groups though no plugin here uses any, and can be told not to."""

CGROUP_CONF = "CgroupPlugin=disabled\n"

QUICK_RESTART = "cred_expire=5"
"""A requeued job waits until its old credential has expired, by default 120 s: too long for trying things out."""


def head_conf(places: Places, *, epilog: Path | None) -> str:
    """The slurm.conf of the controller and of users' commands."""
    lines = [
        f"include {places.common_conf}",
        f"AuthInfo=socket={places.socket('head')},{QUICK_RESTART}",
        f"PlugStackConfig={places.etc / 'plugstack.conf'}",
    ]
    if epilog is not None:
        lines.append(f"EpilogSlurmctld={epilog}")
    return "\n".join([*lines, ""])


def node_conf(places: Places, node: Node, *, prolog: Path | None, epilog: Path | None) -> str:
    """The slurm.conf of one node."""
    lines = [
        f"include {places.common_conf}",
        f"AuthInfo=socket={places.socket(node.name)},{QUICK_RESTART}",
        f"PlugStackConfig={node.plugstack}",
        f"SlurmdSpoolDir={node.directory / 'spool'}",
        f"SlurmdPidFile={places.pid_file(f'slurmd-{node.name}')}",
        f"SlurmdLogFile={places.log / f'slurmd-{node.name}.log'}",
    ]
    lines += [f"{name}={path}" for name, path in (("Prolog", prolog), ("Epilog", epilog)) if path is not None]
    return "\n".join([*lines, ""])


def node_json(places: Places, host: str, state: str, slurm_conf: Path, settings: Mapping[str, object]) -> str:
    """What the prolog of a node reads."""
    values = {
        "gateway": f"unix:{places.run / 'gateway' / 'admin.sock'}",
        "ca": None,
        "munge_socket": str(places.socket(host)),
        "state_dir": state,
        "patience": 25,
        "holdoff": 30,
        "slurm_conf": str(slurm_conf),
        "bin": None,
    }
    return json.dumps(values | dict(settings), indent=2) + "\n"


def filled_in(script: str, values: Mapping[str, str], *, name: str) -> str:
    """A shell script with other values of the variables at its top.

    Raises:
        ConfigurationError: it has no such variable.
    """
    lines = script.split("\n")
    for variable, value in values.items():
        found = [number for number, line in enumerate(lines) if line.startswith(f"{variable}=")]
        if not found:
            raise ConfigurationError(f"{name}: no line sets {variable}: the scripts of another version lie there")
        lines[found[0]] = f"{variable}={shlex.quote(value)}"
    return "\n".join(lines)
