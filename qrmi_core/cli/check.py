# SPDX-License-Identifier: Apache-2.0
"""`qrmi check`: is the configuration right, and can every QPU be reached? Is Slurm set up for them?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.options import ClientConfig, Config, Json
from qrmi_core.cli.output import print_json, print_table, waiting
from qrmi_core.errors import QRMIError

if TYPE_CHECKING:
    from qrmi_core.cli.probe import Answer
    from qrmi_core.slurm.examine import Host

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    config: Config = None,
    as_json: Json = False,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Look whether Slurm is set up for QPUs, as far as this host shows it.")
    ] = False,
    slurm_conf: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --slurm: where slurm.conf is not the usual.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --slurm: this host's name as a node; by default its own.")
    ] = None,
    node_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --slurm: a node.json; by default /etc/qrmi/node.json.")
    ] = None,
    client_config: ClientConfig = None,
) -> None:
    """Validate the configuration and reach every QPU, with its credentials.

    The exit code is 1 if anything is wrong. With --slurm it is Slurm that is looked at, and the gateway; run it on
    slurmctld's host, on a login host and on a node: each shows other things.
    """
    if slurm:
        _check_slurm(slurm_conf, node, node_config, client_config, as_json=as_json)
    else:
        _check_resources(config, as_json=as_json)


def _check_slurm(
    slurm_conf: Path | None, node: str | None, node_config: Path | None, client_config: Path | None, *, as_json: bool
) -> None:
    from qrmi_core.slurm.controller import Controller
    from qrmi_core.slurm.examine import examine

    with waiting("Looking at Slurm"):
        findings = examine(Controller(slurm_conf), _host(node, node_config, client_config, slurm_conf))
    fine = all(finding.result != "wrong" for finding in findings)
    if as_json:
        print_json({"fine": fine, "checks": [finding.to_dict() for finding in findings]})
    else:
        rows = [(each.check, each.result, each.reason, each.advice) for each in findings]
        print_table(("CHECK", "RESULT", "WHAT IS SEEN", "WHAT TO DO"), rows)
    raise typer.Exit(0 if fine else 1)


def _host(node: str | None, node_config: Path | None, client_config: Path | None, slurm_conf: Path | None) -> Host:
    """This host; where the gateway is on it, with what gateway.json tells."""
    from qrmi_core.environment import gateway_file
    from qrmi_core.slurm.examine import Host

    host = Host(node, node_config, client_config, slurm_conf)
    file = gateway_file()
    if file is None or not os.access(file, os.R_OK):  # it may be for the gateway's eyes only
        return host
    from qrmi_core.gateway.settings import load_gateway_settings

    _, settings = load_gateway_settings(file)
    try:
        user = Path(settings.state_dir).owner()
    except (OSError, KeyError):
        user = None
    return replace(host, node_addresses=settings.node_addresses, gateway_user=user)


def _check_resources(config: Path | None, *, as_json: bool) -> None:
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
