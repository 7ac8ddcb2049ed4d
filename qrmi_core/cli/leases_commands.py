# SPDX-License-Identifier: Apache-2.0
"""`qrmi leases` and `qrmi release`: which jobs hold which QPUs, and taking one from a job."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrmi_core.cli.options import ClientConfig, Json
from qrmi_core.cli.output import note, print_json, print_table, print_text, waiting
from qrmi_core.errors import AuthenticationFailed, InputError, ReleaseIncomplete, ResourceNotFound

if TYPE_CHECKING:
    from qrmi_core.admin_client import AdminClient

__all__ = ["add_to"]

HEADINGS = ("JOB", "USER", "QPU", "LANES", "STATE", "SINCE", "UNTIL", "REASON")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("leases")(leases)
    app.command("release")(release)


def leases(
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's: for root and the site's operators.")] = False,
    client_config: ClientConfig = None,
    as_json: Json = False,
) -> None:
    """List what your running jobs hold."""
    told = _client(client_config).leases(everybody=everybody)
    if as_json:
        print_json(told)
        return
    print_table(HEADINGS, [row for lease in told for row in _rows(lease)])


def release(
    job: Annotated[str, typer.Argument(metavar="JOBID", help="The job, or a task of an array as 40_2.")],
    client_config: ClientConfig = None,
    as_json: Json = False,
) -> None:
    """Cancel a job's unfinished tasks and give its QPUs back; the job itself goes on, without them.

    Your own jobs'; operators may do it with everybody's. To end the job too, use scancel instead.
    """
    client = _client(client_config)
    job_id = _job_id(client, job)
    with waiting(f"Giving back what job {job} holds"):
        told = client.release(job_id)
    released, pending = told.get("released", []), told.get("pending", [])
    if not released and not pending:
        raise ResourceNotFound(f"job {job} holds no QPU; `qrmi leases` shows which do")
    if as_json:
        print_json({"released": released, "pending": pending})
    elif released:
        print_text(f"given back: {', '.join(released)}")
    if pending:
        problem = f"not given back yet, the gateway tries it again: {', '.join(pending)}; `qrmi leases` says why"
        if not as_json:
            raise ReleaseIncomplete(problem, transient=True)
        note(problem)
        raise typer.Exit(1)


def _client(client_config: ClientConfig) -> AdminClient:
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.client_settings import load_client_settings

    return AdminClient(load_client_settings(client_config))


def _job_id(client: AdminClient, text: str) -> int:
    """The number by which Slurm and the gateway know a job; that of an array's task only its lease tells."""
    if re.fullmatch(r"[1-9][0-9]{0,9}", text):
        return int(text)
    if not re.fullmatch(r"[1-9][0-9]{0,9}_[0-9]{1,9}", text):
        raise InputError(f"{text!r} is no job: a number was expected, as in 42, or 40_2 for a task of an array")
    try:
        told = client.leases(everybody=True)
    except AuthenticationFailed:
        told = client.leases()
    for lease in told:
        if lease.get("job") == text and lease.get("job_id") is not None:
            return int(lease["job_id"])
    raise ResourceNotFound(f"job {text} holds no QPU; `qrmi leases` shows which do")


def _rows(lease: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for each QPU of a lease."""
    for held in lease["resources"]:
        reasons = (held.get("reason"), held.get("advice"), lease.get("reason"))
        yield (
            str(lease.get("job") or ""),
            str(lease.get("user") or lease.get("uid") or ""),
            str(held["name"]),
            str(held["lanes"]),
            str(held.get("state") or lease["state"]).replace("_", " "),
            _moment(lease.get("granted")),
            _moment(held.get("until") or lease.get("expires")),
            "; ".join(dict.fromkeys(reason for reason in reasons if reason)),
        )


def _moment(seconds: float | None) -> str:
    """Local time, as Slurm writes it."""
    return "" if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
