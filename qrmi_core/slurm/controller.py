# SPDX-License-Identifier: Apache-2.0
"""What slurmctld knows of jobs, nodes and licences: the only truth about them.

Asked through Slurm's own commands, so that one version of this module fits many of Slurm. A user chooses the name,
the comment and the account of a job freely, line breaks included: of these only the account is asked for, and what
separates fields and lines is a random text, a new one each time.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qrmi_core.environment import slurm_environment
from qrmi_core.errors import QRMIError
from qrmi_core.slurm.hostlists import expand_hostlist

__all__ = ["Controller", "ControllerUnreachable", "SlurmJob", "parse_licences"]

FIELDS = (
    "JobID", "JobArrayID", "UserID", "UserName", "State", "Licenses", "SubmitTime", "RestartCnt", "StartTime",
    "EndTime", "TimeLimit", "NodeList", "BatchFlag", "Requeue", "HetJobID", "Account",
)  # fmt: skip
OVER = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    }
)
"""States in which nothing of a job runs any more; while its processes are being ended the state is COMPLETING."""

_Value = TypeVar("_Value")
_LICENCE = re.compile(r"\s*([^\s:*|()]+)(?:[:*](\d{1,9}))?\s*")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_NODE = re.compile(r"^NodeName=(\S+) .*?\bNodeAddr=(\S+)", re.MULTILINE)
_LICENCES = re.compile(r"^LicenseName=(\S+) Total=(\d+) Used=(\d+)", re.MULTILINE)
_NO_SUCH_JOB = "Invalid job id"


class ControllerUnreachable(QRMIError):
    """slurmctld cannot be asked now, or answered with what cannot be understood.

    Nothing of this is a job's fault, so it is always worth asking again.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


@dataclass(frozen=True)
class SlurmJob:
    """One job, or one task of an array; moments are whole seconds since the epoch.

    ``array`` is ``40_2`` for a task of an array. Nodes, start and end are not known of a job that waits.
    """

    id: int
    array: str | None
    uid: int
    user: str
    account: str
    state: str
    licenses: dict[str, int]
    submitted: int
    restarts: int
    started: int | None
    ends: int | None
    limit_seconds: int | None
    nodes: tuple[str, ...]
    batch: bool
    requeue: bool
    het_leader: int | None

    @property
    def is_over(self) -> bool:
        """True when nothing of the job runs any more, and it does not wait either.

        A state that this version does not know is not taken for the end of a job.
        """
        return self.state in OVER


class Controller:
    """Asks slurmctld; thread-safe. Every question is one short process of Slurm's commands."""

    def __init__(self, slurm_conf: Path | None = None, *, timeout: float = 10.0) -> None:
        """Ask the cluster of this slurm.conf, by default the host's own, and give up after ``timeout`` seconds."""
        self._conf = slurm_conf
        self._timeout = timeout

    def job(self, job_id: int) -> SlurmJob | None:
        """The job of this id, of a task of an array its own and not the array's; None where slurmctld knows none.

        Raises:
            ControllerUnreachable: it cannot be asked now.
        """
        return self._queue(f"--jobs={int(job_id)}").get(job_id)

    def jobs(self) -> dict[int, SlurmJob]:
        """Every job that slurmctld knows, also those that ended a short while ago.

        Raises:
            ControllerUnreachable: it cannot be asked now.
        """
        return self._queue()

    def node_addresses(self) -> dict[str, str]:
        """Nodes and their NodeAddr: an address, or a name that has one.

        Raises:
            ControllerUnreachable: it cannot be asked now.
        """
        return dict(_NODE.findall(self._told("scontrol", "show", "nodes", "--oneliner", "--all")))

    def licenses(self) -> dict[str, tuple[int, int]]:
        """Licences, how many there are of each, and how many are in use.

        Raises:
            ControllerUnreachable: it cannot be asked now.
        """
        told = self._told("scontrol", "show", "licenses", "--oneliner")
        return {name: (int(total), int(used)) for name, total, used in _LICENCES.findall(told)}

    def config(self) -> dict[str, str]:
        """The running configuration, as ``scontrol show config`` prints it.

        Raises:
            ControllerUnreachable: it cannot be asked now.
        """
        lines = self._told("scontrol", "show", "config").splitlines()
        pairs = (line.partition("=") for line in lines)
        return {key.strip(): value.strip() for key, sign, value in pairs if sign}

    def _queue(self, *which: str) -> dict[int, SlurmJob]:
        between, after = f"<{secrets.token_hex(8)}>", f"<{secrets.token_hex(8)}>"
        fields = [f"{name}:{between}" for name in FIELDS[:-1]] + [f"{FIELDS[-1]}:{after}"]
        told = self._told(
            "squeue", "--noheader", "--all", "--array", "--states=all", f"--Format={','.join(fields)}", *which
        )
        *rows, rest = told.split(after)
        if rest.strip():
            raise ControllerUnreachable(f"squeue's answer was cut off after {len(rows)} jobs")
        found: dict[int, SlurmJob] = {}
        for row in rows:
            job = _job(row.lstrip("\n").split(between))
            # The tasks of an array that wait have the id of its first or last, which may run already.
            if job.id not in found or found[job.id].state == "PENDING":
                found[job.id] = job
        return found

    def _told(self, *command: str) -> str:
        if self._conf is not None and not self._conf.is_file():
            raise ControllerUnreachable(f"there is no file {self._conf}: check slurm_conf")
        try:
            done = subprocess.run(
                command,
                env=slurm_environment(self._conf),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except FileNotFoundError:
            text = f"the command {command[0]} is not installed: Slurm's client commands must be on this host"
            raise ControllerUnreachable(text) from None
        except subprocess.TimeoutExpired:
            text = f"slurmctld did not answer {command[0]} within {self._timeout:g} s: check that it runs"
            raise ControllerUnreachable(text) from None
        except OSError as error:
            text = f"{command[0]} cannot be run: {error.strerror}"
            raise ControllerUnreachable(text) from error
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            if command[0] == "squeue" and _NO_SUCH_JOB in said:
                return ""
            text = f"slurmctld cannot be asked ({command[0]}: {said[-300:] or f'exit code {done.returncode}'})"
            raise ControllerUnreachable(text)
        return done.stdout.decode(errors="replace")


def parse_licences(text: str) -> dict[str, int]:
    """``qpu_a:1,qpu_b`` as counts; what cannot be understood counts for nothing."""
    found: dict[str, int] = {}
    for part in re.split("[,;]", text):
        match = _LICENCE.fullmatch(part)
        if match and (count := int(match[2] or 1)):
            found[match[1]] = found.get(match[1], 0) + count
    return found


def _job(values: Sequence[str]) -> SlurmJob:
    try:
        told = dict(zip(FIELDS, values, strict=True))
        array = told["JobArrayID"]
        nodes = _known(told["NodeList"], str)
        return SlurmJob(
            id=int(told["JobID"]),
            array=array if "_" in array else None,
            uid=int(told["UserID"]),
            user=told["UserName"],
            account=_known(told["Account"], str) or "",
            state=told["State"],
            licenses=parse_licences(told["Licenses"]),
            submitted=int(told["SubmitTime"]),
            restarts=int(told["RestartCnt"]),
            started=_known(told["StartTime"], int),
            ends=_known(told["EndTime"], int),
            limit_seconds=_seconds(told["TimeLimit"]),
            nodes=expand_hostlist(nodes) if nodes else (),
            batch=told["BatchFlag"] == "1",
            requeue=told["Requeue"] == "1",
            het_leader=_known(told["HetJobID"], int),
        )
    except (ValueError, KeyError) as error:
        text = f"squeue's answer is not understood ({error}): it was written for Slurm 22.05 and later"
        raise ControllerUnreachable(text) from None


def _known(text: str, kind: Callable[[str], _Value]) -> _Value | None:
    return None if text.strip() in {"", "N/A", "(null)", "Unknown", "NONE"} else kind(text.strip())


def _seconds(text: str) -> int | None:
    """Slurm's ``days-hours:minutes:seconds``; None for a limit that is none."""
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
