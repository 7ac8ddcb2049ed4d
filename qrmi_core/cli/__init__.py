# SPDX-License-Identifier: Apache-2.0
"""The command `qrmi`: one module per group of commands, each imported when the command is given."""

from __future__ import annotations

import typer

__all__ = ["main"]

app = typer.Typer(
    name="qrmi",
    help="Quantum processors for Qiskit and Pulser programs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for the help text would cost 0.25 s
)


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
