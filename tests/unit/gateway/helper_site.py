# SPDX-License-Identifier: Apache-2.0
"""A root helper that runs as it does at a site: a process of root's, for a gateway that is another user."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmi_core import polling
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.sqlite_journal import SqliteJournal

__all__ = [
    "CLUSTER",
    "GATEWAY",
    "HOLDER",
    "SUBMITTED",
    "Site",
    "ask",
    "ask_all",
    "lease",
    "munge_daemon",
    "running_helper",
]

GATEWAY = 4242
HOLDER = pwd.getpwnam("nobody")
CLUSTER = "qlab"
SUBMITTED = 1_700_000_000

_SERVE = """
import logging, pathlib, sys
from qrmi_core.gateway import root_helper
logging.basicConfig(level=logging.INFO, format="%(message)s")
root_helper.serve(root_helper.load(pathlib.Path(sys.argv[1])))
"""
_ASK = """
import json, socket, sys
for line in json.load(sys.stdin):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(sys.argv[1])
        connection.sendall(line.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        sys.stdout.buffer.write(connection.makefile("rb").read())
"""

_spec = importlib.util.spec_from_file_location(
    "munge_daemon", Path(__file__).parents[2] / "vendors" / "munge_daemon.py"
)
assert _spec is not None
assert _spec.loader is not None
munge_daemon: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(munge_daemon)


@dataclass(frozen=True)
class Site:
    """Where everything is; ``journal`` is open, as the gateway has it."""

    directory: Path
    journal: SqliteJournal
    owner: int

    @property
    def socket(self) -> str:
        return str(self.directory / "run" / "helper.sock")

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def hand_over(self) -> None:
        """The journal's files to the gateway's user."""
        for each in [self.directory / "state", *(self.directory / "state").iterdir()]:
            os.chown(each, self.owner, self.owner)


def lease(job_id: int, uid: int, state: LeaseState, resource: str = "orion") -> LeaseRecord:
    """The only lease of a job, which writing another replaces."""
    holder = Holder(JobKey(CLUSTER, job_id, SUBMITTED, 0), uid)
    held = AcquisitionState.RELEASED if state is LeaseState.RELEASED else AcquisitionState.ACQUIRED
    return LeaseRecord(f"{job_id:032x}", state, float(SUBMITTED), None, (Acquisition(resource, held),), holder)


@contextlib.contextmanager
def running_helper(
    *,
    munge_socket: str | None = None,
    slurm_conf: str | None = None,
    owner: int = GATEWAY,
    lanes: Mapping[str, int] | None = None,
) -> Iterator[Site]:
    """A helper of the gateway's user ``owner``, for the resources ``orion`` (Warden), ``Fez`` (not), and ``lanes``."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="helper-", dir="/tmp"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        (directory / "run").mkdir(mode=0o755)
        (directory / "state").mkdir(mode=0o700)
        warden = {"name": "orion", "type": "pasqal-local", "environment": {"QRMI_WARDEN_URL": "http://127.0.0.1:9"}}
        others = [
            {"name": name, "type": "aer-simulator", "environment": {}, "lanes": number}
            for name, number in {"Fez": 2, **(lanes or {})}.items()
        ]
        (directory / "qrmi_config.json").write_text(json.dumps({"resources": [warden, *others]}))
        gateway = {
            "qrmi_config": str(directory / "qrmi_config.json"),
            "state_dir": str(directory / "state"),
            "helper_socket": str(directory / "run" / "helper.sock"),
            "listen": {"admin": str(directory / "run" / "admin.sock")},
            "munge_socket": munge_socket,
            "slurm_conf": slurm_conf,
        }
        (directory / "gateway.json").write_text(json.dumps(gateway))
        journal = SqliteJournal(directory / "state" / "journal.sqlite")
        stack.callback(journal.close)
        site = Site(directory, journal, owner)
        site.hand_over()
        log = stack.enter_context((directory / "log").open("wb"))
        command = [*_few_rights(), sys.executable, "-c", _SERVE, str(directory / "gateway.json")]
        helper = stack.enter_context(subprocess.Popen(command, stderr=log))
        stack.callback(helper.terminate)
        listening = polling.wait_until(lambda: helper.poll() is not None or f"for user {owner}" in site.log, timeout=20)
        assert listening, site.log
        assert helper.poll() is None, site.log
        yield site


def _few_rights() -> list[str]:
    """A start with the capabilities that the unit file leaves, and no others."""
    unit = (Path(__file__).parents[3] / "slurm" / "systemd" / "qrmi-helper.service").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")]
    names = [name.removeprefix("CAP_").lower() for name in line.partition("=")[2].split()]
    bounds = ",".join(["-all", *(f"+{name}" for name in names)])
    return ["setpriv", "--bounding-set", bounds, "--no-new-privs", "--"]


def ask(site: Site, request: bytes | dict[str, Any], *, uid: int = GATEWAY) -> dict[str, Any]:
    """What the helper answers to a line, or a request, of a user."""
    return ask_all(site, [request], uid=uid)[0]


def ask_all(site: Site, requests: Sequence[bytes | dict[str, Any]], *, uid: int = GATEWAY) -> list[dict[str, Any]]:
    """The same for several, each in a connection of its own."""
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in requests]
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", _ASK, site.socket],
        input=json.dumps([line.decode("latin-1") for line in lines]).encode(),
        capture_output=True, timeout=100, user=uid, group=uid, extra_groups=[], cwd="/", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    answers: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    assert {each.pop("version") for each in answers} == {1}
    return answers
