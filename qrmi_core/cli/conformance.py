# SPDX-License-Identifier: Apache-2.0
"""`qrmi conformance`: whether a driver does what it must, tried on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.options import Config, Json
from qrmi_core.cli.output import find, note, print_json, print_table

if TYPE_CHECKING:
    from qrmi_core.conformance.suite import Outcome

__all__ = ["add_to"]

FAILED = 1
REACHED_WITHIN = 5.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("conformance")(conformance)


def conformance(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The QPU.")],
    config: Config = None,
    shots: Annotated[int, typer.Option(min=1, help="Shots of each small task.")] = 100,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a task.")] = 300.0,
    faults: Annotated[
        bool, typer.Option(help="Also try faults on the way to the server, through a proxy on this machine.")
    ] = True,
    check: Annotated[
        list[str] | None, typer.Option(help="Only this check, and those that it needs; may be given several times.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before shots are spent.")] = False,
    as_json: Json = False,
) -> None:
    """Try whether a QPU's driver does all that it must, with small tasks on the device itself.

    It says first how many shots that costs at most. The exit code is 0 when nothing failed.
    """
    from qrmi_core.conformance.suite import Suite
    from qrmi_core.discovery import driver
    from qrmi_core.service import QRMIService

    if faults:
        try:
            import aiohttp  # noqa: F401
        except ImportError:
            note("faults are left out: they need pip install 'qrmi-providers[gateway]'")
            faults = False
    entry = find(QRMIService(config), name)
    resource = entry.resource
    suite = Suite(
        driver(entry.type),
        name,
        entry.values,
        context=resource.context,
        shots=shots,
        patience=patience,
        faults=faults,
        only=check or (),
    )
    entry.hurried(REACHED_WITHIN).status()  # a server that is down or refuses the key is no fault of the driver
    note(f"{name}: {len(suite.checks) + 1} checks, which run at most {suite.most_shots} shots on the device")
    if not yes:
        typer.confirm("Go on?", abort=True, err=True)
    outcomes = suite.run(lambda outcome: note(_line(outcome)))
    if as_json:
        print_json([outcome.to_dict() for outcome in outcomes])
    else:
        print_table(("CHECK", "VERDICT", "WHY"), [(each.check, each.verdict, each.text) for each in outcomes])
    if any(outcome.verdict in {"failed", "not run"} for outcome in outcomes):
        raise typer.Exit(FAILED)


def _line(outcome: Outcome) -> str:
    return ": ".join(part for part in (outcome.check, outcome.verdict, outcome.text) if part)
