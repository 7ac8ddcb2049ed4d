# SPDX-License-Identifier: Apache-2.0
"""`qrmi emulate`: a server that speaks a vendor's REST API, for people who develop without an account."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.output import note, print_json
from qrmi_core.errors import InputError, UnsupportedFunction

if TYPE_CHECKING:
    from qrmi_core.gateway.faults import FaultRates

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("emulate")(emulate)


def emulate(
    dialect: Annotated[str, typer.Option(help="The resource type whose vendor's API is served.")],
    engine: Annotated[str | None, typer.Option(help="The simulator behind it; each API has its own default.")] = None,
    name: Annotated[str | None, typer.Option(help="The resource's name in what is printed.")] = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1; 0 means any free one.")] = 0,
    key: Annotated[str | None, typer.Option(help="The credential that is taken; by default a random one.")] = None,
    service_time: Annotated[float, typer.Option(help="Seconds that a task takes at least.")] = 0.0,
    jitter: Annotated[float, typer.Option(help="Share by which that time varies at random.")] = 0.0,
    lanes: Annotated[int | None, typer.Option(help="How many tasks the device takes at the same time.")] = None,
    token_seconds: Annotated[float, typer.Option(help="How long a token is good for.")] = 3600.0,
    list_delay: Annotated[float, typer.Option(help="Seconds until a new task appears in lists, at most.")] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="FAULT=SHARE, e.g. error=0.1: a share of the requests is answered with that fault. Faults are error "
            "(500), unavailable (503), too_many (429), reset_before, reset_after, hang, slow, truncated, cut_json."
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A part of the API that this server lacks, where some of the vendor's do.")
    ] = None,
    munge_socket: Annotated[
        str | None, typer.Option(help="The socket of munged, where the API asks for munge.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the faults and the varying times.")] = 0,
) -> None:
    """Serve a vendor's REST API on this machine, in front of a simulator that computes real results.

    The entry for qrmi_config.json is printed first; save it, name the file in QRMI_CONFIG, and programs find the QPU.
    Ctrl-C ends the server and prints what came of the requests; so does GET /_emulate/counters meanwhile.
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
    from qrmi_core.service import QRMIService

    if dialect not in DIALECTS:
        raise InputError(f"there is no dialect {dialect}; there are {', '.join(DIALECTS)}")
    kind = find(dialect)
    lacking = frozenset(without or [])
    if unknown := sorted(lacking - kind.optional):
        known = ", ".join(sorted(kind.optional)) or "nothing"
        raise InputError(f"--without {unknown[0]}: every server of {dialect} has that; it can lack {known}")
    resource = QRMIService().resource(engine or kind.engine)
    rates = _rates(fault or [])
    chance = random.Random(seed)  # noqa: S311  no secret
    device = Device(
        resource, lanes=lanes, service_time=lambda: service_time * chance.uniform(1.0 - jitter, 1.0 + jitter)
    )
    options = DialectOptions(
        token_seconds=token_seconds, list_delay=list_delay, seed=seed, without=lacking, munge_socket=munge_socket
    )
    if key is not None:
        options = replace(options, key=key)
    # Both signals are only waited for below; blocked before threads start, so that none of them takes one.
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with Emulator(dialect, device, options=options, faults=Faults(rates, seed=seed), port=port) as emulator:
        entry = {"name": name or resource.name, "type": dialect, "environment": emulator.environment()}
        print_json({"resources": [entry]})
        note(f"{dialect} in front of {resource.name} listens at {emulator.url}; Ctrl-C ends it")
        if kind.hint:
            note(kind.hint)
        signal.sigwait(ending)
    for route, told in emulator.counters.to_dict().items():
        note(f"{route}: {json.dumps(told)}")
    note(f"{device.runs} tasks were run")


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
