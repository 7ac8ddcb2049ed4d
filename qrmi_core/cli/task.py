# SPDX-License-Identifier: Apache-2.0
"""`qrmi task run`: one payload file, run to its end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.options import Config
from qrmi_core.cli.output import find, note, waiting
from qrmi_core.errors import InputError, QRMIError, TaskCancelled, UnsupportedFunction, UnsupportedPayload

if TYPE_CHECKING:
    from qrmi_core.cli.signals import Signals
    from qrmi_core.payloads import Payload
    from qrmi_core.resource import QuantumResource
    from qrmi_core.tasks import Task

__all__ = ["add_to"]

FAILED = 1
CANCELLED = 3


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Tasks: payloads that a QPU runs.", no_args_is_help=True, rich_markup_mode=None)
    group.command("run")(run)
    app.add_typer(group, name="task")


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The QPU.")],
    payload_file: Annotated[Path, typer.Argument(metavar="PAYLOAD.json", help="The payload, in QRMI's schema v1.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the result here; an old one is kept on failure."),
    ] = None,
    config: Config = None,
) -> None:
    """Run a payload and print its result; logs go to stderr.

    Exit codes: 0 done, 1 failed, 2 bad input, 3 cancelled, also by SIGTERM or SIGINT, which cancel the task first.
    """
    from qrmi_core.cli.signals import Signals, Stopped
    from qrmi_core.payload_files import read_payload
    from qrmi_core.service import QRMIService

    payload = read_payload(payload_file)
    try:
        with Signals() as signals, _destination(output) as write:
            resource = find(QRMIService(config), name).resource
            _refuse_other_kinds(resource, payload, payload_file)
            write(_run_to_the_end(resource, payload, signals))
    except TaskCancelled as error:
        note(str(error))
        raise typer.Exit(CANCELLED) from None
    except Stopped as stopped:
        note(f"ended by {stopped}")
        raise typer.Exit(CANCELLED) from None


def _refuse_other_kinds(resource: QuantumResource, payload: Payload, file: Path) -> None:
    """In the words of payload files: who writes one has never seen the names of our classes.

    Raises:
        UnsupportedPayload: the resource runs nothing of this kind.
    """
    from qrmi_core.payload_files import described

    if not isinstance(payload, resource.takes):
        taken = " or ".join(described(kind) for kind in resource.takes)
        raise UnsupportedPayload(
            f"{file} holds {described(type(payload))}, but {resource.name} ({resource.type}) takes {taken}: "
            f"choose another QPU",
            resource=resource.name,
        )


def _run_to_the_end(resource: QuantumResource, payload: Payload, signals: Signals) -> bytes:
    """The result; when a signal asks this process to end, the task is cancelled and the signal raised."""
    from qrmi_core.cli.signals import Stopped

    task: Task | None = None
    try:
        with signals.held():  # a task whose id is not known yet could not be cancelled
            task = resource.submit(payload)
        note(f"task {task.id} on {resource.name} is submitted")
        with waiting(f"Waiting for task {task.id} on {resource.name}"):
            task.wait()
        _print_logs(task)
        return task.result().data
    except Stopped:
        if task is not None:
            signals.collect()
            _cancel(task)
        raise


def _cancel(task: Task) -> None:
    try:
        task.cancel()
    except QRMIError as error:
        note(f"task {task.id} could not be cancelled: {error}")
    else:
        note(f"task {task.id} was cancelled")


def _print_logs(task: Task) -> None:
    with contextlib.suppress(UnsupportedFunction):
        sys.stderr.write(task.logs())


@contextlib.contextmanager
def _destination(output: Path | None) -> Iterator[Callable[[bytes], None]]:
    """A function that writes the result; whether a file can be written is found out before anything runs.

    Raises:
        InputError: it cannot.
    """
    if output is None:
        yield _write_to_stdout
        return
    file = output.resolve()  # what a link points to is replaced, not the link
    if file.exists() and not file.is_file():
        raise InputError(f"{output}: is not a regular file; without -o the result goes to stdout")
    draft = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
    try:
        stream = draft.open("xb", buffering=0)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}; nothing was run") from None

    def write(data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[stream.write(left) :]
            os.fsync(stream.fileno())
            draft.replace(file)
        except OSError as error:
            note(f"{output}: cannot be written any more: {error.strerror}; the result goes to stdout")
            _write_to_stdout(data)
            raise typer.Exit(FAILED) from None

    try:
        with stream:
            yield write
    finally:
        draft.unlink(missing_ok=True)


def _write_to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
    sys.stdout.buffer.flush()
