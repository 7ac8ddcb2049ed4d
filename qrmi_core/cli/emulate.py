# SPDX-License-Identifier: Apache-2.0
"""`qrmi emulate`: a server that speaks a vendor's REST API, for people who develop without an account."""

from __future__ import annotations

import contextlib
import errno
import json
import random
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.output import note, print_text
from qrmi_core.errors import InputError, QRMIError, ResourceUnavailable, UnsupportedFunction, UnsupportedPayload

if TYPE_CHECKING:
    from qrmi_core.gateway.dialects import Dialect
    from qrmi_core.gateway.emulator import Emulator
    from qrmi_core.gateway.faults import FaultRates
    from qrmi_core.resource import QuantumResource

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("emulate", context_settings={"allow_interspersed_args": False})(emulate)


def emulate(
    dialect: Annotated[str, typer.Option(help="The resource type whose vendor's API is served.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD ...]", help="A program to run with it, and its arguments.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The simulator behind it; each API has its own default.")] = None,
    name: Annotated[str | None, typer.Option(help="The resource's name in the configuration.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the configuration is written."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 means any free one.")] = 0,
    key: Annotated[str | None, typer.Option(help="The credential that is taken; by default a random one.")] = None,
    service_time: Annotated[float, typer.Option(min=0, help="Seconds that a task takes at least.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, max=1, help="Share by which that time varies at random.")] = 0.0,
    lanes: Annotated[int | None, typer.Option(min=1, help="How many tasks the device takes at the same time.")] = None,
    token_seconds: Annotated[float, typer.Option(min=0, help="How long a token is good for.")] = 3600.0,
    list_delay: Annotated[float, typer.Option(min=0, help="Seconds until a new task appears in lists, at most.")] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="FAULT=SHARE, e.g. error=0.1: so many of the requests are answered with that fault. Faults are error "
            "(500), unavailable (503), too_many (429), reset_before, reset_after, hang, slow, truncated, cut_json "
            "and late (taken some seconds after a 504)."
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A part of the API that this server lacks, where some of the vendor's do.")
    ] = None,
    munge_socket: Annotated[
        str | None, typer.Option(help="The socket of munged, where the API asks for munge.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the faults and the varying times.")] = 0,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long CMD may take to end when it is told to.")
    ] = 30.0,
) -> None:
    """Serve a vendor's REST API on this machine, in front of a simulator that computes real results.

    For example: qrmi emulate --dialect iqm-server --name practice -- qrmi run --qpu=practice -- python bell.py

    With CMD, the server lives as long as CMD does, QRMI_CONFIG names a configuration that has it, and the exit code is
    CMD's. Without, the entry for qrmi_config.json is printed (or written with --output) once the server listens; Ctrl-C
    ends it and prints what came of the requests. So does GET /_emulate/counters meanwhile.
    """
    try:
        from qrmi_core.gateway.device import Device
        from qrmi_core.gateway.dialects import DIALECTS, DialectOptions
        from qrmi_core.gateway.dialects import dialect as find
        from qrmi_core.gateway.emulator import Emulator
        from qrmi_core.gateway.faults import Faults
    except ImportError as error:
        raise UnsupportedFunction(
            f"`qrmi emulate` needs a package that is missing ({error.name}): pip install 'qrmi-providers[gateway]'"
        ) from error
    from qrmi_core.cli.child import require_command
    from qrmi_core.names import is_valid_name, name_rule

    if dialect not in DIALECTS:
        raise InputError(f"there is no dialect {dialect}; there are {', '.join(DIALECTS)}")
    if name is not None and not is_valid_name(name):
        raise InputError(f"--name {name!r}: {name_rule}")
    kind = find(dialect)
    lacking = frozenset(without or [])
    if unknown := sorted(lacking - kind.optional):
        known = ", ".join(sorted(kind.optional)) or "nothing"
        raise InputError(f"--without {unknown[0]}: every server of {dialect} has that; it can lack {known}")
    rates = _rates(fault or [])
    resource = _resource(engine or kind.engine, dialect, kind)
    if command:
        require_command(command[0])
    chance = random.Random(seed)  # noqa: S311  no secret
    device = Device(
        resource, lanes=lanes, service_time=lambda: service_time * chance.uniform(1.0 - jitter, 1.0 + jitter)
    )
    options = DialectOptions(
        token_seconds=token_seconds, list_delay=list_delay, seed=seed, without=lacking, munge_socket=munge_socket
    )
    if key is not None:
        options = replace(options, key=key)
    emulator = Emulator(dialect, device, options=options, faults=Faults(rates, seed=seed), port=port)
    server = _listening(emulator, name or resource.name, port, output)
    if command:
        raise typer.Exit(_run_beside(server, command, output, grace=grace))
    # Both signals are only waited for below; blocked before threads start, so that none of them takes one.
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with server as configuration:
        if output is None:
            print_text(configuration)
        note(f"{dialect} in front of {resource.name} listens at {emulator.url}; Ctrl-C ends it")
        signal.sigwait(ending)
    for route, told in emulator.counters.to_dict().items():
        note(f"{route}: {json.dumps(told)}")
    note(f"{device.runs} tasks were run")


def _resource(engine: str, dialect: str, kind: type[Dialect]) -> QuantumResource:
    """The resource behind the server, which must run what the vendor's programs send.

    Raises:
        UnsupportedPayload: it does not; says which simulators do.
    """
    from qrmi_core.engines import EngineResource
    from qrmi_core.service import QRMIService

    service = QRMIService()
    resource = service.resource(engine)
    if kind.takes not in resource.takes:
        fitting = [
            each.name for each in service.resources() if isinstance(each, EngineResource) and kind.takes in each.takes
        ]
        raise UnsupportedPayload(
            f"--engine {engine} does not run what programs for {dialect} send; "
            f"these do: {', '.join(fitting) or 'none that is installed'}",
            resource=engine,
        )
    return resource


@contextlib.contextmanager
def _listening(emulator: Emulator, name: str, port: int, output: Path | None) -> Iterator[str]:
    """The server, and the text of a configuration that reaches it, which is in ``output`` then.

    Raises:
        InputError: the port cannot be had, or ``output`` not be written.
        ResourceUnavailable: it does not start for another reason.
    """
    with contextlib.ExitStack() as running:
        try:
            running.enter_context(emulator)
        except QRMIError:
            raise
        except Exception as error:
            emulator.device.close()
            raise _why_it_does_not_start(error, emulator.type, port) from error
        entry = {"name": name, "type": emulator.type, "environment": emulator.environment()}
        configuration = json.dumps({"resources": [entry]}, indent=2, ensure_ascii=False) + "\n"
        if output is not None:
            _write(output, configuration)
        if emulator.dialect.hint:
            note(emulator.dialect.hint)
        yield configuration


def _why_it_does_not_start(error: Exception, dialect: str, port: int) -> QRMIError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return InputError(f"port {port} is in use: choose another, or --port 0")
    if number in (errno.EACCES, errno.EPERM):
        return InputError(f"port {port} may not be used by this user: choose one above 1023, or --port 0")
    return ResourceUnavailable(f"the server of {dialect} does not start: {type(error).__name__}: {error}")


def _write(path: Path, text: str) -> None:
    """Write a file that holds a key: nobody else can read it, and who looks for it finds all of it or nothing.

    Raises:
        InputError: it cannot be written.
    """
    file = path.resolve()  # what a link points to is replaced, not the link
    if file.exists() and not file.is_file():
        raise InputError(f"{path}: is not a regular file; without --output the configuration goes to stdout")
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
            draft.write(text)
        Path(draft.name).replace(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _run_beside(
    server: contextlib.AbstractContextManager[str], command: Sequence[str], output: Path | None, *, grace: float
) -> int:
    """Run a command while the server does, and return its exit code."""
    from qrmi_core.cli.child import Child
    from qrmi_core.cli.signals import Signals, Stopped
    from qrmi_core.environment import CONFIG, child_environment

    try:
        with (
            Signals() as signals,
            tempfile.TemporaryDirectory(prefix="qrmi-emulate-") as directory,
            server as configuration,
        ):
            signals.collect()
            file = output or Path(directory) / "qrmi_config.json"
            if output is None:
                _write(file, configuration)
            environment = child_environment({CONFIG: str(file.resolve())})
            return Child.start(command, environment, signals, grace=grace).wait()
    except Stopped as stopped:
        return stopped.exit_code


def _rates(texts: list[str]) -> FaultRates:
    from dataclasses import fields

    from qrmi_core.gateway.faults import FaultRates

    known = [each.name for each in fields(FaultRates)]
    found: dict[str, float] = {}
    for text in texts:
        fault, _, share = text.partition("=")
        try:
            found[fault] = float(share)
        except ValueError:
            raise InputError(f"--fault {text}: FAULT=SHARE was expected, with a share from 0 to 1") from None
        if fault not in known or not 0 <= found[fault] <= 1:
            raise InputError(f"--fault {text}: a fault ({', '.join(known)}) and a share from 0 to 1 were expected")
    return FaultRates(**found)
