# SPDX-License-Identifier: Apache-2.0
"""The command `qrmi`: one module per group of commands.

These modules import typer and little else at first; what a command needs, it imports when it is given.
"""

from __future__ import annotations

import sys

import typer

from qrmi_core.cli import (
    check,
    conformance,
    emulate,
    gateway,
    leases_commands,
    maintenance,
    qpus,
    resources,
    run,
    slurm,
    task,
    usage,
)
from qrmi_core.cli.output import note
from qrmi_core.errors import (
    AmbiguousResource,
    ConfigurationError,
    InputError,
    JobEnvironmentError,
    NoQPUError,
    QRMIError,
    ResourceNotFound,
)

__all__ = ["main"]

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(
    name="qrmi",
    help="Quantum processors for Qiskit and Pulser programs. Exit codes: 1 something failed, 2 bad input.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for the help text would cost 0.25 s
)
run.add_to(app)
resources.add_to(app)
task.add_to(app)
check.add_to(app)
qpus.add_to(app)
leases_commands.add_to(app)
usage.add_to(app)
maintenance.add_to(app)
emulate.add_to(app)
conformance.add_to(app)
gateway.add_to(app)
slurm.add_to(app)


def main() -> None:
    """Run the command line; a user's mistake ends in one line on stderr."""
    try:
        app()
    except QRMIError as error:
        note(str(error))
        sys.exit(exit_code(error))


def exit_code(error: QRMIError) -> int:
    """2 where the user can mend it by typing something else, 1 for everything that failed."""
    by_the_user = (InputError, ConfigurationError, JobEnvironmentError, ResourceNotFound, AmbiguousResource)
    return BAD_INPUT if isinstance(error, by_the_user) and not isinstance(error, NoQPUError) else FAILED
