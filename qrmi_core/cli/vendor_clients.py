# SPDX-License-Identifier: Apache-2.0
"""What `qrmi run` adds to a program's environment, for vendors' own clients to find its simulators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from qrmi_core.cli.output import note
from qrmi_core.errors import InputError
from qrmi_core.vendor_environment import (
    PASQAL_HOOK,
    PYTHONPATH,
    extended_no_proxy,
    marked,
    pasqal_variables,
    with_hook,
)

if TYPE_CHECKING:
    from qrmi_core.service import ListedResource

__all__ = ["vendor_clients"]


@contextlib.contextmanager
def vendor_clients(
    entries: Sequence[ListedResource], environ: Mapping[str, str], *, wanted: bool, pasqal_hook: bool | None
) -> Iterator[Mapping[str, str]]:
    """A program's environment with the variables, while the servers that they lead to listen.

    Nothing is added where they are not ``wanted``. ``pasqal_hook`` says whether programs for Pasqal's cloud are to be
    led without any change; None leaves it to the variable ``QRMI_PASQAL_HOOK``.

    Raises:
        InputError: the hook was asked for where it would lead nowhere.
    """
    if not wanted:
        if pasqal_hook:
            raise InputError("--pasqal-hook leads programs to a QPU, --qpu-env=off leads them nowhere: leave one out")
        yield environ
        return
    from qrmi_core.discovery import engine_types
    from qrmi_core.engines import EngineResource
    from qrmi_core.gateway.local_doors import HOST, LocalDoors

    simulators = engine_types()
    usable = [entry.made for entry in entries if entry.type in simulators]
    engines = [made for made in usable if isinstance(made, EngineResource)]
    real = {entry.type for entry in entries if entry.type not in simulators}
    with LocalDoors(engines, real=real, say=note) as doors:
        led = doors.variables
        if led:
            led = {**marked(led, environ), **extended_no_proxy(environ, HOST)}
        environ = {**environ, **led}
        yield {**environ, **_hook(pasqal_hook, environ)}


def _hook(asked: bool | None, environ: Mapping[str, str]) -> dict[str, str]:
    if asked is None and environ.get(PASQAL_HOOK) != "1":
        return {}
    if not environ.keys() >= pasqal_variables("", "").keys():
        if asked:
            raise InputError(
                "--pasqal-hook leads programs for Pasqal's cloud to a QPU, and none of this run's is reached that way: "
                "add one, such as --qpu=pulser_analog"
            )
        return {}
    return {PYTHONPATH: with_hook(environ.get(PYTHONPATH))} if asked is not False else {}
