# SPDX-License-Identifier: Apache-2.0
"""A private Slurm cluster on one host: a controller, and nodes each with a munged of its own, all in one directory.

Nothing outside of the directory is touched, and only loopback addresses are used. As root it is a cluster for several
users, with Debian's users ``slurm`` and ``munge`` for its daemons; any other user gets one for their own jobs only.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qrmi_core import polling
from qrmi_core.environment import child_environment
from qrmi_core.errors import ConfigurationError, QRMIError
from qrmi_core.slurm.cluster_directory import ClusterDirectory, known_port
from qrmi_core.slurm.cluster_files import HEAD_ADDRESS, Node, Places
from qrmi_core.slurm.daemons import Daemon, DaemonFailed, Service

__all__ = ["PROGRAMS", "Cluster", "free_ports", "missing_programs"]

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "gcc", "make")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORTS = range(20000, 32000)
UP_SECONDS = 30.0
STATES = ("PENDING", "RUNNING", "SUSPENDED")


def missing_programs() -> list[str]:
    """What a cluster needs and this host has not."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return missing if Path("/usr/include/slurm/spank.h").exists() else [*missing, "slurm/spank.h"]


class Cluster:
    """See the module; a context manager that starts and stops it.

    Args:
        directory: where all of it lies; every user of the cluster must be able to enter it.
        nodes: how many compute nodes there are, n1 and so on, each with an address of its own (127.0.0.2, ...).
        cpus: how many CPUs each of them claims.
        qpus: lanes of each QPU, for the licences and for job_submit.lua; :meth:`set_qpus` changes them.
        port_base: the first of its ports; by default free ones are looked for. One more than it needs itself is left
            free for a service (``spare_port``).
        options: lines of slurm.conf, by their keys, that replace the cluster's own or add to them.
        prolog: whether prolog, epilog and EpilogSlurmctld are those of this package; without them nothing asks a
            gateway, and whoever wants a job to have a QPU writes its state file.
        node_settings: keys of node.json that differ from the cluster's own.
        services: what else belongs to it; see :meth:`add_service`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 2,
        cpus: int = 8,
        qpus: Mapping[str, int] | None = None,
        port_base: int | None = None,
        options: Mapping[str, str] | None = None,
        prolog: bool = True,
        node_settings: Mapping[str, object] | None = None,
        services: Iterable[Service] = (),
        python: str = "/usr/bin/python3",
    ) -> None:
        self.places = Places(directory.absolute())
        self.qpus = dict(qpus or {})
        self.reasons: dict[str, str] = {}
        self.options = dict(options or {})
        self.services = list(services)
        port = port_base or known_port(self.places) or free_ports(nodes + 2)
        self.spare_port = port + nodes + 1
        self.nodes = tuple(
            Node(number, port + number, self.places.directory / "node" / f"n{number}") for number in range(1, nodes + 1)
        )
        self._by_root = os.geteuid() == 0
        own = pwd.getpwuid(os.geteuid()).pw_name
        self._munge_user = "munge" if self._by_root else own
        self._directory = ClusterDirectory(
            self.places, self.nodes, port=port, cpus=cpus, slurm_user="slurm" if self._by_root else own,
            slurmd_user=own, munge_user=self._munge_user, prolog=prolog, node_settings=dict(node_settings or {}),
            python=python,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF must be for Slurm's commands."""
        return self.places.slurm_conf

    @property
    def daemons(self) -> dict[str, Daemon]:
        """Each by its name: munged-head, munged-n1, ..., slurmctld, slurmd-n1, ..., in the order of their start."""
        found = [self._munged("head", HEAD_ADDRESS)]
        found += [self._munged(node.name, node.address) for node in self.nodes]
        found.append(self._daemon("slurmctld", ["slurmctld", "-f", str(self.slurm_conf)], str(self.slurm_conf)))
        found += [
            self._daemon(f"slurmd-{node.name}", ["slurmd", "-N", node.name, "-f", str(node.slurm_conf)],
                         str(node.slurm_conf))
            for node in self.nodes
        ]  # fmt: skip
        return {daemon.name: daemon for daemon in found}

    def environment(self, **more: str) -> dict[str, str]:
        """An environment for Slurm's commands on this cluster, with nothing of another Slurm job in it."""
        kept = {key: value for key, value in child_environment().items() if not _is_of_slurm(key)}
        return kept | {"SLURM_CONF": str(self.slurm_conf), "PATH": f"{kept.get('PATH', '')}:{PATH}"} | more

    def start(self) -> None:
        """Write the files and start what does not run; return when all nodes take jobs.

        Raises:
            ConfigurationError: a program is missing, or the directory is in a place that does not do.
            DaemonFailed: a daemon did not come up.
        """
        if missing := missing_programs():
            raise ConfigurationError(
                f"not installed: {', '.join(missing)}; as root: apt-get install --no-install-recommends "
                f"slurmctld slurmd slurm-client slurm-wlm-basic-plugins libslurm-dev munge gcc make"
            )
        self._directory.check_place()
        self.write()
        try:
            self.start_daemons()
            for service in self.services:
                service.start(self.places.run, self.places.log)
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise

    def start_daemons(self, *names: str) -> None:
        """Start these daemons, or all, unless they run; munged's first."""
        chosen = [daemon for daemon in self.daemons.values() if not names or daemon.name in names]
        first = [daemon for daemon in chosen if daemon.name.startswith("munged")]
        for group in (first, [daemon for daemon in chosen if daemon not in first]):
            begun = [(daemon, daemon.start(self.environment())) for daemon in group]
            failures = [failure for daemon, process in begun if (failure := daemon.failure(process)) is not None]
            if failures:
                raise DaemonFailed("; ".join(failures))

    def wait_until_up(self, *, timeout: float = UP_SECONDS) -> None:
        """Wait until all nodes take jobs.

        Raises:
            DaemonFailed: they do not, and what Slurm says of them.
        """
        if not polling.wait_until(lambda: self._nodes_up() == len(self.nodes), timeout=timeout):
            said = self.run(["sinfo", "-N", "-o", "%N %T %E"])
            raise DaemonFailed(f"the nodes do not come up in {timeout:g} s: {said.stdout}{said.stderr}")

    def stop(self) -> None:
        """End the jobs and everything that was started, here or by another process; the files stay."""
        daemons = self.daemons
        if daemons["slurmctld"].pid() is not None:
            for how in (["--signal=KILL", "--full", "--state=RUNNING"], *([f"--state={each}"] for each in STATES)):
                with contextlib.suppress(QRMIError):
                    self.run(["scancel", *how], timeout=5, check=False)
        for service in reversed(self.services):
            service.stop(self.places.run)
        for group in ("slurmd", "slurmctld", "munged"):
            chosen = [daemon for daemon in daemons.values() if daemon.name.startswith(group)]
            for daemon in chosen:
                daemon.signal(signal.SIGTERM)
            for daemon in chosen:
                daemon.stop()

    def wipe(self) -> None:
        """Stop it and delete its directory."""
        self.stop()
        shutil.rmtree(self.places.directory)

    def status(self) -> dict[str, int | None]:
        """The process of each daemon and service, None where it does not run."""
        found = {name: daemon.pid() for name, daemon in self.daemons.items()}
        return found | {service.name: service.pid(self.places.run) for service in self.services}

    def add_service(self, service: Service) -> None:
        """Have a program started now, with the cluster from then on, and ended with it."""
        self.services.append(service)
        service.start(self.places.run, self.places.log)

    def set_qpus(self, qpus: Mapping[str, int], reasons: Mapping[str, str] | None = None) -> None:
        """Have other QPUs, lanes, or reasons for which QPUs are out of service, while the cluster runs."""
        changed = dict(qpus) != self.qpus
        self.qpus, self.reasons = dict(qpus), dict(reasons or {})
        self.write()
        if changed:
            self.run(["scontrol", "reconfigure"])

    def run(
        self,
        command: Sequence[str],
        *,
        user: str | None = None,
        timeout: float = 30.0,
        check: bool = True,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this cluster, as another user where root asks for one.

        Raises:
            QRMIError: it failed (unless ``check`` is False), or took longer than ``timeout`` seconds.
        """
        environ = dict(environment) if environment is not None else self.environment()
        if user is not None:
            environ |= {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "LOGNAME": user}
        try:
            done = subprocess.run(
                command, env=environ, cwd=cwd or self.places.work, text=True, errors="replace", capture_output=True,
                stdin=subprocess.DEVNULL, timeout=timeout, check=False, user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid, extra_groups=None if user is None else [],
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise QRMIError(f"{' '.join(command)}: no end after {timeout:g} s") from None
        if check and done.returncode:
            raise QRMIError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done

    def write(self) -> None:
        """Write all files anew; those that hold state are kept."""
        self._directory.write(self.qpus, self.reasons, self.options)

    def _munged(self, host: str, address: str) -> Daemon:
        places = self.places
        name = f"munged-{host}"
        # munged and slurmctld must be able to write their logs as the users that they become
        command = [
            "munged", "--force", f"--socket={places.socket(host)}", f"--key-file={places.key}",
            f"--pid-file={places.munge / f'{name}.pid'}", f"--seed-file={places.munge / f'{name}.seed'}",
            f"--log-file={places.munge / f'{name}.log'}", f"--origin={address}",
        ]  # fmt: skip
        if self._by_root:
            user = self._munge_user
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command]
        return Daemon(name, command, places.munge / f"{name}.pid", str(places.socket(host)), places.log / f"{name}.out")

    def _daemon(self, name: str, command: list[str], mark: str) -> Daemon:
        return Daemon(name, command, self.places.pid_file(name), mark, self.places.log / f"{name}.out")

    def _nodes_up(self) -> int:
        try:
            said = self.run(["sinfo", "-h", "-N", "-o", "%t"], timeout=5)
        except QRMIError:
            return 0
        return sum(state in {"idle", "mix", "alloc", "comp"} for state in said.stdout.split())


def _is_of_slurm(variable: str) -> bool:
    return variable.startswith(
        ("SLURM", "SBATCH_", "SALLOC_", "SRUN_", "_SLURM", "SPANK_", "SINFO_", "SQUEUE_", "QRMI_")
    )


def free_ports(count: int) -> int:
    """The first of so many ports that nobody uses, below those that the system gives away by itself."""
    for _ in range(200):
        base = random.SystemRandom().randrange(PORTS.start, PORTS.stop - count)
        if all(_is_free(base + offset) for offset in range(count)):
            return base
    raise ConfigurationError(f"no {count} free ports between {PORTS.start} and {PORTS.stop} were found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
