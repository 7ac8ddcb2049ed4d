# SPDX-License-Identifier: Apache-2.0
"""`qrmi qpus`: the QPUs of the site, as its gateway knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from qrmi_core.cli.options import ClientConfig, Json
from qrmi_core.cli.output import print_json, print_table, waiting

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("qpus")(qpus)


def qpus(client_config: ClientConfig = None, as_json: Json = False) -> None:
    """List the QPUs of this site: free lanes, state and its reason, leases, and tasks that wait at the vendor.

    Ask for one with --qpu=NAME, or --qpu=NAME:LANES, in sbatch, salloc and srun.
    """
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.client_settings import load_client_settings

    with waiting("Asking the gateway"):
        told = AdminClient(load_client_settings(client_config)).resources()
    if as_json:
        print_json(told)
    else:
        headings = ("QPU", "TYPE", "FREE", "STATE", "LEASES", "QUEUE", "REASON", "DESCRIPTION")
        print_table(headings, [_row(each) for each in told])


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    queue = told.get("queue")
    return (
        str(told["name"]),
        str(told["type"]),
        f"{told['free']}/{told['lanes']}",
        str(told["state"]),
        str(told["leases"]),
        "" if queue is None else str(queue),
        told.get("reason") or "",
        told.get("description") or "",
    )
