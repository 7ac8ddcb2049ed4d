# SPDX-License-Identifier: Apache-2.0
"""`qrmi gateway helper`: the service beside the gateway that does what only root may do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Add the command to the group `qrmi gateway`."""
    group.command("helper")(helper)


def helper(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="gateway.json; by default the site's.")] = None,
) -> None:
    """Serve the gateway's four requests for root's rights, as root, until a signal ends it.

    Munge credentials for Warden, reservations that take a QPU out of service, and the usage of a job in the accounting.
    Every call is logged on stderr.
    """
    from qrmi_core.gateway import root_helper

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    root_helper.serve(root_helper.load(config))
