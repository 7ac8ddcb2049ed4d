# SPDX-License-Identifier: Apache-2.0
"""`qrmi resources`, `qrmi target` and `qrmi status`: which QPUs this process can use, and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.options import Config, Json
from qrmi_core.cli.output import find, note, print_json, print_table, print_text, waiting

if TYPE_CHECKING:
    from qrmi_core.cli.probe import Answer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("resources")(resources)
    app.command("target")(target)
    app.command("status")(status)


def resources(config: Config = None, as_json: Json = False) -> None:
    """List the QPUs that can be used here.

    In a job these are the job's, elsewhere those of the configuration and the built-in simulators.
    """
    from qrmi_core.service import QRMIService

    service = QRMIService(config)
    for problem in service.problems:
        note(str(problem))
    rows = [(entry.name, entry.type, entry.origin, str(entry.problem or "")) for entry in service.listing()]
    if as_json:
        keys = ("name", "type", "origin", "problem")
        print_json([dict(zip(keys, (*known, problem or None), strict=True)) for *known, problem in rows])
    else:
        print_table(("NAME", "TYPE", "FROM", "PROBLEM"), rows)


def target(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The QPU.")],
    config: Config = None,
    _json: Annotated[bool, typer.Option("--json", help="Print JSON, which a target is anyway.")] = False,
) -> None:
    """Print what a compiler needs to know of a QPU.

    This is its vendor's JSON. QRMIBackend.from_target and qrmi_pulser.device take a file of it, also where no QPU is.
    """
    from qrmi_core.service import QRMIService

    resource = find(QRMIService(config), name).resource
    with waiting(f"Asking {name} for its target"):
        text = resource.target().value
    print_text(text)


def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The QPU; by default all.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the QPUs whether they take tasks."""
    from qrmi_core.cli.probe import ask
    from qrmi_core.service import QRMIService

    service = QRMIService(config)
    entries = service.listing() if name is None else [find(service, name)]
    with waiting("Asking for the status"):
        answers = ask(entries)
    if name is not None and answers[0].error is not None:
        raise answers[0].error
    if as_json:
        told = [answer.to_dict() for answer in answers]
        print_json(told if name is None else told[0])
    else:
        print_table(("NAME", "STATUS", "WAITING", "FREE LANES", "REASON"), [_row(answer) for answer in answers])


def _row(answer: Answer) -> tuple[str, ...]:
    status = answer.status
    waiting_tasks = status.pending_job_count if status else None
    capacity = status.capacity if status else None
    return (
        answer.entry.name,
        answer.word,
        "" if waiting_tasks is None else str(waiting_tasks),
        "" if capacity is None else f"{capacity.available_slots} of {capacity.max_slots}",
        answer.reason,
    )
