# SPDX-License-Identifier: Apache-2.0
"""`qrmi run`: a command with the QPUs of its own, as in a job of the workload manager."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.output import find, note, waiting
from qrmi_core.errors import InputError, ReleaseIncomplete

if TYPE_CHECKING:
    from qrmi_core.cli.signals import Signals
    from qrmi_core.leases import Lease, Leases
    from qrmi_core.resource import QuantumResource
    from qrmi_core.service import ListedResource, QRMIService

__all__ = ["add_to"]

RELEASE_ATTEMPTS = 2


class Switch(enum.StrEnum):
    """On or off, as sbatch takes it too."""

    ON = "on"
    OFF = "off"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", context_settings={"allow_interspersed_args": False})(run)


def run(
    command: Annotated[list[str], typer.Argument(metavar="CMD", help="The program and its arguments.")],
    qpu: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="The QPUs, with commas between; in a job, by default all of its."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A qrmi_config.json; by default QRMI_CONFIG, then the site's.")
    ] = None,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long the program may take to end when it is told to.")
    ] = 10.0,
    qpu_env: Annotated[
        Switch,
        typer.Option(help="off: the variables through which vendors' own clients find a simulator are left alone."),
    ] = Switch.ON,
    pasqal_hook: Annotated[
        bool | None,
        typer.Option(
            "--pasqal-hook/--no-pasqal-hook",
            help="PasqalCloudConnection finds the QPU too; by default where QRMI_PASQAL_HOOK is 1.",
        ),
    ] = None,
) -> None:
    """Run a program with QPUs, on a laptop as in a job.

    For example: qrmi run --qpu=aer_fez -- python bell.py

    The QPUs are acquired, CMD runs with the environment of a job, and whatever happens the QPUs are given back and
    unfinished tasks cancelled. The exit code is CMD's, 128+n if signal n ended it; SIGTERM, SIGINT and SIGHUP are
    passed on to CMD and what it started. Programs that use qiskit-ibm-runtime or pasqal-cloud find simulators in place
    of their vendor's QPU, without an account.
    """
    from qrmi_core.cli.child import Child, require_command
    from qrmi_core.cli.signals import Signals, Stopped
    from qrmi_core.cli.vendor_clients import vendor_clients

    names = _names(qpu)
    require_command(command[0])
    try:
        with (
            Signals() as signals,
            _allocation(names, config, signals, grace=grace) as (entries, variables),
            vendor_clients(entries, variables, wanted=qpu_env is Switch.ON, pasqal_hook=pasqal_hook) as environment,
        ):
            signals.collect()
            code = Child.start(command, environment, signals, grace=grace).wait()
    except Stopped as stopped:
        code = stopped.exit_code
    raise typer.Exit(code)


def _names(qpu: str | None) -> list[str]:
    from qrmi_core.names import clash

    if qpu is None:
        return []
    names = [name.strip() for name in qpu.split(",")]
    if not all(names):
        raise InputError(f"--qpu={qpu}: a name is empty; names stand with one comma between them")
    if twins := clash(names):
        raise InputError(f"--qpu={qpu}: {twins[0]} and {twins[1]} are the same QPU")
    return names


@contextlib.contextmanager
def _allocation(
    names: Sequence[str], config: Path | None, signals: Signals, *, grace: float
) -> Iterator[tuple[Sequence[ListedResource], Mapping[str, str]]]:
    """The QPUs that a program may use, and its environment, for as long as it may.

    An allocation that is there already ends, with all its processes, when whoever made it says so.
    """
    from qrmi_core.cli.descendants import Descendants
    from qrmi_core.environment import child_environment
    from qrmi_core.service import QRMIService

    service = QRMIService(config)
    if service.in_job and not names:
        yield service.listing(), child_environment()
    elif service.in_job:
        chosen = _chosen(service, names)
        yield chosen, _part_of_job({each.name for each in chosen})
    elif names:
        chosen = _chosen(service, names)
        resources = [each.resource for each in chosen]
        with Descendants(signals, grace=grace), _lease(resources, signals) as lease:
            yield chosen, _environment(service, lease)
    else:
        raise InputError("which QPU? This is no job that has one: add --qpu=NAME; `qrmi resources` lists the names")


def _chosen(service: QRMIService, names: Sequence[str]) -> list[ListedResource]:
    chosen = {name: find(service, name) for name in names}
    for name, each in chosen.items():
        if each.name != name and each.name in chosen:
            raise InputError(f"--qpu={','.join(names)}: {name} and {each.name} are the same QPU")
    return list(chosen.values())


def _part_of_job(chosen: Collection[str]) -> Mapping[str, str]:
    """The allocation holds its QPUs already; the program is told of those that were named."""
    from qrmi_core.environment import child_environment, read_job, vendor_values, write_job

    job = read_job()
    if job is None:
        return child_environment()
    resources = tuple(resource for resource in job.resources if resource.name in chosen)
    return child_environment(vendor_values() | write_job(replace(job, resources=resources)))


@contextlib.contextmanager
def _lease(resources: Sequence[QuantumResource], signals: Signals) -> Iterator[Lease]:
    from qrmi_core.leases import Leases, MemoryJournal

    names = ", ".join(resource.name for resource in resources)
    journal = MemoryJournal()
    leases = Leases(journal)
    try:
        with waiting(f"Acquiring {names}"):
            lease = leases.grant(resources)
        yield lease
    finally:
        signals.collect()
        for record in journal.live():
            with waiting(f"Giving back {names}"):
                _release(leases, record.id)


def _release(leases: Leases, lease_id: str) -> None:
    for attempt in range(RELEASE_ATTEMPTS):
        try:
            leases.release(lease_id)
        except ReleaseIncomplete as error:
            if attempt == RELEASE_ATTEMPTS - 1:
                note(str(error))
        else:
            return


def _environment(service: QRMIService, lease: Lease) -> Mapping[str, str]:
    from qrmi_core.environment import JobEnvironment, JobResource, child_environment, write_job

    granted = (service.listed(resource.name) for resource in lease.resources)
    resources = tuple(JobResource(each.name, each.type, each.values, lease.tokens[each.name]) for each in granted)
    variables = write_job(JobEnvironment(resources, uid=os.getuid()))
    return child_environment(variables, leave_out_jobs_of=lease.tokens)
