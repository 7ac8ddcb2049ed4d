# SPDX-License-Identifier: Apache-2.0
"""`qrmi resources`, `qrmi target` and `qrmi status`: which QPUs this process can use, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrmi_core.cli.options import Config, Json
from qrmi_core.cli.output import find, note, print_json, print_table, print_text, waiting
from qrmi_core.errors import QRMIError

if TYPE_CHECKING:
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.cli.probe import Answer
    from qrmi_core.service import ListedResource, QRMIService

__all__ = ["add_to"]

HEADINGS = ("NAME", "STATUS", "WAITING", "FREE LANES", "REASON")


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
    rows = [(entry.name, entry.type, entry.origin, _problem(entry)) for entry in service.listing()]
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
    At a site with a gateway, a QPU that is not this job's is asked through it: no job needs a QPU to transpile for it.
    """
    from qrmi_core.service import QRMIService

    service = QRMIService(config)
    of_site = _of_site(service, config, name)
    with waiting(f"Asking {name} for its target"):
        text = of_site[0].target(name).decode() if of_site else find(service, name).resource.target().value
    print_text(text)


def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The QPU; by default all.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the QPUs whether they take tasks, one that is not this job's through the site's gateway."""
    from qrmi_core.cli.probe import ask
    from qrmi_core.service import QRMIService

    service = QRMIService(config)
    if name is not None and (of_site := _of_site(service, config, name)):
        client, kind = of_site
        with waiting(f"Asking {name} for its status"):
            answer = {"name": name, "type": kind, **client.status(name)}
        answer.pop("version", None)
        if as_json:
            print_json(answer)
        else:
            print_table(HEADINGS, [_told_row(answer)])
        return
    entries = service.listing() if name is None else [find(service, name)]
    with waiting("Asking for the status"):
        answers = ask(entries)
    if name is not None and answers[0].error is not None:
        raise answers[0].error
    if as_json:
        told = [answer.to_dict() for answer in answers]
        print_json(told if name is None else told[0])
    else:
        print_table(HEADINGS, [_row(answer) for answer in answers])


def _of_site(service: QRMIService, config: Path | None, name: str) -> tuple[AdminClient, str] | None:
    """The gateway's client and the QPU's type, where only the site's client.json knows the name."""
    if config is not None or name in service.names():
        return None
    from qrmi_core.environment import client_file

    file = client_file()
    if file is None:
        return None
    from qrmi_core.admin_client import AdminClient
    from qrmi_core.client_settings import load_client_settings

    settings = load_client_settings(file)
    kind = next((each.type for each in settings.resources if each.name == name), None)
    return None if kind is None else (AdminClient(settings), kind)


def _problem(entry: ListedResource) -> str:
    """Why it cannot be used, as far as is known without asking anybody."""
    from qrmi_core.engines import EngineResource

    if isinstance(entry.made, EngineResource):
        try:
            entry.made.verify_access()
        except QRMIError as error:
            return str(error)
    return str(entry.problem or "")


def _row(answer: Answer) -> tuple[str, ...]:
    told = answer.status.to_dict() if answer.status else {}
    return _told_row({**told, "name": answer.entry.name, "status": answer.word, "status_reason": answer.reason})


def _told_row(told: Mapping[str, Any]) -> tuple[str, ...]:
    waiting_tasks, capacity = told.get("pending_job_count"), told.get("capacity")
    return (
        str(told["name"]),
        str(told["status"]),
        "" if waiting_tasks is None else str(waiting_tasks),
        f"{capacity['available_slots']} of {capacity['max_slots']}" if capacity else "",
        told.get("status_reason") or "",
    )
