# SPDX-License-Identifier: Apache-2.0
"""`qrmi check`: is the configuration right, and can every QPU be reached?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from qrmi_core.cli.options import Config, Json
from qrmi_core.cli.output import print_json, print_table, waiting
from qrmi_core.errors import QRMIError

if TYPE_CHECKING:
    from qrmi_core.cli.probe import Answer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(config: Config = None, as_json: Json = False) -> None:
    """Validate the configuration and reach every QPU, with its credentials.

    The exit code is 1 if anything is wrong.
    """
    from qrmi_core.cli.probe import ask
    from qrmi_core.service import QRMIService

    try:
        service = QRMIService(config)
    except QRMIError as error:
        problems, answers = [str(error)], []
    else:
        problems = [str(problem) for problem in service.problems]
        with waiting("Reaching every QPU"):
            answers = ask(service.listing(), thoroughly=True)
    fine = not problems and all(answer.is_fine for answer in answers)
    if as_json:
        resources = [{**answer.to_dict(), "fine": answer.is_fine} for answer in answers]
        print_json({"fine": fine, "problems": problems, "resources": resources})
    else:
        rows = [("", "", "wrong", problem) for problem in problems]
        print_table(("NAME", "TYPE", "RESULT", "REASON"), [*rows, *_rows(answers)])
    raise typer.Exit(0 if fine else 1)


def _rows(answers: Iterable[Answer]) -> list[tuple[str, str, str, str]]:
    """One row for each resource, one for all built-in simulators of a type with the same answer."""
    names: dict[tuple[object, ...], list[str]] = {}
    for answer in answers:
        entry = answer.entry
        reason = answer.reason.replace(entry.name, "it")
        alone = None if entry.origin == "embedded" else entry.name
        result = "fine" if answer.is_fine and answer.installed else answer.word if answer.is_fine else "wrong"
        key = (alone, entry.type, result, answer.reason if alone else reason)
        names.setdefault(key, []).append(entry.name)
    return [
        (_together(group), str(kind), str(result), str(reason)) for (_, kind, result, reason), group in names.items()
    ]


def _together(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
