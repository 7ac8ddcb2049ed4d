# SPDX-License-Identifier: Apache-2.0
"""All commands of `qrmi`: one module per group.

These modules import typer and little else at first; what a command needs, it imports when it is given.
"""

from __future__ import annotations

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

__all__ = ["app"]

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
