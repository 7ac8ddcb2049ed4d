# SPDX-License-Identifier: Apache-2.0
"""A private cluster with accounting: slurmdbd, and MariaDB, which is reached over a unix socket only."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cluster import USERS, Jobs, make_users, why_not

from qrmi_core import polling
from qrmi_core.slurm.cluster import PATH, Cluster, free_ports
from qrmi_core.slurm.configure import QPU
from qrmi_core.slurm.daemons import DaemonFailed, Service

__all__ = ["ACCOUNTS", "QPUS", "Accounting", "AccountingSite", "accounting_site", "no_accounting"]

QPUS = {"Fez": 1, "aer_fez": 3}
RESOURCES = [QPU(name, "aer-simulator", lanes) for name, lanes in QPUS.items()]
ACCOUNTS = dict(zip(USERS, ("physics", "chemistry"), strict=True))
"""The account of each user."""

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "my_print_defaults", "sacctmgr", "sacct")
SECONDS = 60.0
SLURM_USER = "slurm"


def no_accounting() -> str | None:
    """Why there can be no accounting here, None where there can."""
    if reason := why_not():
        return reason
    if os.geteuid() != 0:
        return "slurmdbd and MariaDB are started as a user of their own, which only root can do"
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"{', '.join(missing)} missing: `make install` as root installs it" if missing else None


class Accounting:
    """MariaDB and slurmdbd of a cluster, both as Slurm's user; the cluster's munged of the head must run."""

    def __init__(self, cluster: Cluster) -> None:
        self.places = cluster.places
        self._cluster = cluster
        self._port = free_ports(1)
        self._data = cluster.places.directory / "mariadb"
        self._socket = cluster.places.run / "mariadb.sock"
        environment = cluster.environment(MYSQL_UNIX_PORT=str(self._socket))
        small = ["--innodb-log-file-size=10M", "--innodb-buffer-pool-size=32M", "--performance-schema=OFF"]
        database = ["mariadbd", "--no-defaults", f"--datadir={self._data}", f"--socket={self._socket}"]
        database = [*database, "--skip-networking", "--innodb-flush-log-at-trx-commit=2", *small]
        self.mariadbd = Service("mariadbd", database, environment, SLURM_USER)
        self.slurmdbd = Service("slurmdbd", ["slurmdbd", "-D"], environment, SLURM_USER)

    @property
    def options(self) -> dict[str, str]:
        """What slurm.conf has to say of it."""
        return {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(self._port),
            "AccountingStoragePass": str(self.places.socket("head")),
        }

    def start(self) -> None:
        """Start both; return when slurmdbd answers."""
        if not self._data.exists():
            command = ["mariadb-install-db", "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
            # root of the database is Slurm's user here, by the socket: there is no password
            command += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={SLURM_USER}"]
            self._data.mkdir()
            shutil.chown(self._data, SLURM_USER, SLURM_USER)
            self._cluster.run(command, user=SLURM_USER, timeout=SECONDS, cwd=Path("/"))
            self._write()
        self.mariadbd.start(self.places.run, self.places.log)
        self._wait(self.mariadbd, self._database_listens)
        self.start_slurmdbd()

    def start_slurmdbd(self) -> None:
        """Start it; return when it answers."""
        self.slurmdbd.start(self.places.run, self.places.log)
        self._wait(self.slurmdbd, self._answers)

    def stop_slurmdbd(self) -> None:
        self.slurmdbd.stop(self.places.run)

    def stop(self) -> None:
        for service in (self.slurmdbd, self.mariadbd):
            service.stop(self.places.run)

    def _write(self) -> None:
        lines = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.places.socket('head')}",
            "DbdHost": socket.gethostname().split(".")[0],
            "DbdAddr": "127.0.0.1",
            "DbdPort": str(self._port),
            "SlurmUser": SLURM_USER,
            "PidFile": str(self.places.run / "slurmdbd.pid"),
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": SLURM_USER,
            "StorageLoc": "slurm_acct",
        }
        file = self.places.etc / "slurmdbd.conf"
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        shutil.chown(file, SLURM_USER, SLURM_USER)
        file.chmod(0o600)

    def _wait(self, service: Service, answers: Callable[[], bool]) -> None:
        def settled() -> bool:
            return answers() or service.pid(self.places.run) is None

        if not polling.wait_until(settled, timeout=SECONDS) or service.pid(self.places.run) is None:
            said = (self.places.log / f"{service.name}.log").read_text(errors="replace").splitlines()[-5:]
            raise DaemonFailed(f"{service.name} does not start: {' / '.join(said)}")

    def _database_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def _answers(self) -> bool:
        done = self._cluster.run(["sacctmgr", "--noheader", "show", "cluster"], timeout=10, check=False)
        return done.returncode == 0


class AccountingSite:
    """The cluster, and what an administrator does with its accounting."""

    def __init__(self, cluster: Cluster, accounting: Accounting) -> None:
        self.cluster = cluster
        self.accounting = accounting

    def jobs(self, user: str = USERS[0]) -> Jobs:
        return Jobs(self.cluster, user)

    def sacctmgr(self, *words: str) -> str:
        """What it says to a command that succeeds."""
        return self.cluster.run(["sacctmgr", "--immediate", *words]).stdout

    def sacct(self, job: int, field: str) -> str:
        """A field of a job's record, empty where there is none yet."""
        command = ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", f"--format={field}"]
        return self.cluster.run(command).stdout.strip()

    def recorded(self, job: int) -> None:
        """Wait until the accounting knows that a job has ended."""
        ended = polling.wait_until(lambda: self.sacct(job, "End") not in {"", "Unknown"}, timeout=30)
        assert ended, self.cluster.run(["sacct", "-X", "-P"]).stdout

    @contextlib.contextmanager
    def slurmdbd_down(self) -> Iterator[None]:
        self.accounting.stop_slurmdbd()
        try:
            yield
        finally:
            self.accounting.start_slurmdbd()


@contextlib.contextmanager
def accounting_site(options: Mapping[str, str]) -> Iterator[AccountingSite]:
    """A cluster with two users of different accounts; ``options`` are more lines of slurm.conf."""
    make_users()
    directory = Path(tempfile.mkdtemp(prefix="qrmi-books-", dir="/tmp"))
    directory.chmod(0o755)
    cluster = Cluster(directory, nodes=1, qpus=QPUS, prolog=False)
    accounting = Accounting(cluster)
    cluster.options |= {"KillWait": "3", **accounting.options, **options}
    site = AccountingSite(cluster, accounting)
    try:
        cluster.write()
        cluster.start_daemons("munged-head")
        accounting.start()
        site.sacctmgr("add", "cluster", "qrmi")
        for user, account in ACCOUNTS.items():
            site.sacctmgr("add", "account", account)
            site.sacctmgr("add", "user", user, f"account={account}")
        cluster.start()
        yield site
    finally:
        cluster.stop()
        accounting.stop()
        shutil.rmtree(directory, ignore_errors=True)
