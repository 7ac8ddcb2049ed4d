# SPDX-License-Identifier: Apache-2.0
"""`qrmi maintenance`: taking a QPU out of service, and putting it back."""

from __future__ import annotations

from typing import Annotated

import typer

from qrmi_core.cli.options import ClientConfig, Json
from qrmi_core.cli.output import print_json, print_text, waiting
from qrmi_core.errors import InputError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("maintenance")(maintenance)


def maintenance(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The QPU.")],
    on: Annotated[
        str | None, typer.Option("--on", metavar="REASON", help="Take it out of service; users see the reason.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Put it back into service.")] = False,
    client_config: ClientConfig = None,
    as_json: Json = False,
) -> None:
    """Take a QPU out of service or put it back; for root and the site's operators.

    Jobs that hold it go on, jobs that wait for it stay in the queue.
    """
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.client_settings import load_client_settings

    if off == (on is not None):
        raise InputError(f'say which: qrmi maintenance {name} --on "reason", or --off')
    if on is not None and not on.strip():
        raise InputError('--on needs a reason, which users see: --on "recabling until 14:00"')
    client = AdminClient(load_client_settings(client_config))
    with waiting(f"Telling the gateway about {name}"):
        if on is None:
            client.end_maintenance(name)
        else:
            client.begin_maintenance(name, on)
    if as_json:
        print_json({"name": name, "maintenance": on})
    else:
        print_text(f"{name} is back in service" if on is None else f"{name} is out of service: {on}")
