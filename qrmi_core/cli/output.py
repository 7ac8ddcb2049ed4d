# SPDX-License-Identifier: Apache-2.0
"""What the commands print: data on stdout, everything else on stderr.

rich is imported where it draws something, not before: `qrmi --help` does without.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qrmi_core.errors import ResourceNotFound

if TYPE_CHECKING:
    from qrmi_core.service import ListedResource, QRMIService

__all__ = ["find", "note", "print_json", "print_table", "print_text", "waiting"]


def print_text(text: str) -> None:
    """Print data on stdout; a newline is added only where the text has none."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print plain JSON values on stdout."""
    print_text(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Say something beside the data, in one line."""
    sys.stderr.write(f"qrmi: {' '.join(text.split())}\n")
    sys.stderr.flush()


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: folded to a terminal's width, in a pipe one line for each row."""
    if not sys.stdout.isatty():
        lines = [headings, *rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
        for line in lines:
            print_text("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def find(service: QRMIService, name: str) -> ListedResource:
    """The resource of that name; where there is none, say first which drivers are broken: it may be theirs."""
    try:
        return service.listed(name)
    except ResourceNotFound:
        for problem in service.problems:
            note(str(problem))
        raise


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal that ``what`` is waited for; anywhere else say nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
