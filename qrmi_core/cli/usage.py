# SPDX-License-Identifier: Apache-2.0
"""`qrmi usage`: who used which QPU, for how long and for what, from the gateway and from Slurm's accounting."""

from __future__ import annotations

import csv
import os
import pwd
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrmi_core.cli.options import ClientConfig, Json
from qrmi_core.cli.output import note, print_json, print_table, waiting
from qrmi_core.errors import InputError

if TYPE_CHECKING:
    from qrmi_core.slurm.accounting import Holding
    from qrmi_core.usage import Usage

__all__ = ["add_to"]

COLUMNS = ("resource", "user", "account", "jobs", "tasks", "lane_seconds", "device_seconds", "shots")
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage")(usage)


def usage(
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Of this user; of others for operators.")] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="In this account's name only.")] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="2026-11-01, 2026-11-01T12:30, or an age as 12h, 7d or 4w.")
    ] = "30d",
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's: for root and the site's operators.")] = False,
    client_config: ClientConfig = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Sum up what you used of the site's QPUs.

    Lane-seconds are the time for which jobs held lanes, as Slurm's accounting knows it; device seconds are what the
    vendor counted. A job that got a member of a pool holds the pool's lanes, and its tasks are the member's.
    """
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.client_settings import load_client_settings
    from qrmi_core.usage import joined

    if as_json and as_csv:
        raise InputError("--json or --csv: only one of them can be printed")
    if everybody and user is not None:
        raise InputError("--all or --user: either everybody's usage is summed up, or one user's")
    start, settings = _moment(since), load_client_settings(client_config)
    me = _own_name()
    whose = None if everybody else user or me
    with waiting("Asking the gateway and Slurm's accounting"):
        told = AdminClient(settings).usage(since=start, everybody=whose != me)
        tasks = [
            task
            for task in told
            if (whose in {None, me, task["user"]}) and (account or "").lower() in {"", task["account"] or ""}
        ]
        held = _held(start, whose, account)
    rows = joined(tasks, held, [each.name for each in settings.resources])
    if as_json:
        print_json([_values(row) for row in rows])
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_values(row) for row in rows)
    else:
        print_table([name.replace("_", " ").upper() for name in COLUMNS], [_cells(row) for row in rows])


def _held(since: float, user: str | None, account: str | None) -> Sequence[Holding] | None:
    """What Slurm's accounting tells; None, and a line that says why, where it tells nothing."""
    from qrmi_core.slurm.accounting import AccountingUnavailable, holdings

    try:
        return holdings(since, user=user, account=account)
    except AccountingUnavailable as error:
        note(f"{error}; so there are no lane-seconds, only what the gateway knows")
        return None


def _own_name() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _moment(text: str) -> float:
    """Epoch seconds of a local date, or of so long ago."""
    if match := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return max(0.0, time.time() - int(match[1]) * UNITS[match[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"--since {text}: a date as 2026-11-01 or 2026-11-01T12:30, or 12h, 7d, 4w was expected"
        ) from None


def _values(row: Usage) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _cells(row: Usage) -> list[str]:
    return ["" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
            for value in _values(row).values()]  # fmt: skip
