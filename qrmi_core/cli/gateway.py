# SPDX-License-Identifier: Apache-2.0
"""`qrmi gateway`: the service that grants leases to jobs, and the one that does for it what only root may do.

Both are usually reached by :mod:`qrmi_core.cli.services` directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qrmi_core.cli import services

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The service that grants QPUs to jobs, on the host of slurmctld or beside it.")
    group.command("serve")(serve)
    group.command("helper")(helper)
    app.add_typer(group, name="gateway", no_args_is_help=True)


def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="gateway.json; by default QRMI_GATEWAY_CONFIG, then the site's."),
    ] = None,
) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration files again. Logs go to stderr.

    Leases survive a restart, and a crash at any moment: what the journal holds is taken up by the next start.
    """
    services.serve(config)


def helper(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="gateway.json; by default the site's.")] = None,
) -> None:
    """Serve the gateway's four requests for root's rights, as root, until a signal ends it.

    Munge credentials for Warden, reservations that take a QPU out of service, and the usage of a job in the accounting.
    Every call is logged on stderr.
    """
    services.helper(config)
