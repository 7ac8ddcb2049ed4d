# SPDX-License-Identifier: Apache-2.0
"""For how long jobs held lanes of QPUs, as Slurm's accounting knows it: the licences in sacct.

Asked through sacct, so that one version of this module fits many of Slurm. It takes slurmdbd, and licences that are
named in AccountingStorageTRES.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qrmi_core.environment import slurm_environment
from qrmi_core.errors import QRMIError
from qrmi_core.names import LICENCE

__all__ = ["AccountingUnavailable", "Holding", "holdings"]

FIELDS = "JobIDRaw,User,Account,ElapsedRaw,AllocTRES"
PREFIX = f"license/{LICENCE}"
SECONDS = 60.0
EARLIEST = 1_000_000
"""Seconds since the epoch; Slurm takes none before."""


class AccountingUnavailable(QRMIError):
    """There is no accounting here, or it does not answer; the text says which."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Lanes of one QPU that one run of a job held; ``licence`` is the name of its licence."""

    licence: str
    job_id: int
    user: str
    account: str
    lanes: int
    seconds: int

    @property
    def lane_seconds(self) -> int:
        return self.lanes * self.seconds


def holdings(
    since: float, *, user: str | None = None, account: str | None = None, slurm_conf: Path | None = None
) -> list[Holding]:
    """What has been held from ``since`` (epoch seconds) until now, by everybody where no user is named.

    Time before ``since`` does not count, and a job that still runs counts until now. Each run of a requeued job is one.

    Raises:
        AccountingUnavailable: there is no slurmdbd, or it does not answer now.
    """
    command = [
        "sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", "--noconvert", "--truncate",
        f"--format={FIELDS}", f"--starttime=uts{max(EARLIEST, int(since))}",
    ]  # fmt: skip
    command.append("--allusers" if user is None else f"--user={user}")
    if account is not None:
        command.append(f"--accounts={account}")
    return [held for line in _told(command, slurm_conf).splitlines() for held in _holdings(line)]


def _holdings(line: str) -> Iterator[Holding]:
    """The licences of QPUs in one record; a job that still waits has none."""
    try:
        job, user, account, elapsed, allocated = line.split("|")
        for each in filter(None, allocated.split(",")):
            name, _, count = each.partition("=")
            if name.startswith(PREFIX):
                licence = name.removeprefix("license/")
                yield Holding(licence, int(job), user, account, int(count), int(elapsed))
    except ValueError:
        text = f"sacct's answer is not understood ({line[:100]!r}): it was written for Slurm 22.05 and later"
        raise AccountingUnavailable(text) from None


def _told(command: list[str], slurm_conf: Path | None) -> str:
    try:
        done = subprocess.run(
            command, env=slurm_environment(slurm_conf), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise AccountingUnavailable("Slurm's command sacct is not installed here") from None
    except subprocess.TimeoutExpired:
        text = f"Slurm's accounting did not answer sacct within {SECONDS:g} s"
        raise AccountingUnavailable(text, transient=True) from None
    except OSError as error:
        raise AccountingUnavailable(f"sacct cannot be run: {error.strerror}") from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        if "accounting storage is disabled" in said:
            raise AccountingUnavailable("this cluster has no accounting (slurmdbd)")
        text = f"Slurm's accounting does not answer: {said[-300:] or f'sacct ended with {done.returncode}'}"
        raise AccountingUnavailable(text, transient=True)
    return done.stdout.decode(errors="replace")
