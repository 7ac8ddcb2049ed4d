# SPDX-License-Identifier: Apache-2.0
"""Vendors' APIs in front of the simulators of one allocation, for programs that know nothing but their vendor.

Each API has one port of the loopback, and a token that only the allocation's own programs are told. Until a program
connects there is a socket and a thread that waits; only then aiohttp is imported and the server begins.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from qrmi_core.engines import EngineResource
from qrmi_core.errors import QRMIError
from qrmi_core.payloads import PulserBatch, QiskitPrimitive
from qrmi_core.vendor_environment import EMULATED_INSTANCE, ibm_variables, pasqal_variables

if TYPE_CHECKING:
    from qrmi_core.gateway.device import Device
    from qrmi_core.gateway.emulator import Emulator

__all__ = ["APIS", "HOST", "Api", "LocalDoors"]

HOST = "127.0.0.1"
WAITING = 128
HOLD = 20.0
"""Seconds; pasqal-cloud gives up after 30."""


@dataclass(frozen=True)
class Api:
    """A vendor's API: which payloads its programs send, and the types of real resources that have it too."""

    dialect: str
    takes: type[Any]
    types: frozenset[str]
    variables: Callable[[str, str], dict[str, str]]


APIS = (
    Api(
        "ibm-quantum-compute-service",
        QiskitPrimitive,
        frozenset({"ibm-quantum-compute-service", "ibm-quantum-system", "qiskit-runtime-service"}),
        lambda url, token: ibm_variables(url, token, EMULATED_INSTANCE),
    ),
    Api("pasqal-cloud", PulserBatch, frozenset({"pasqal-cloud", "pasqal-local"}), pasqal_variables),
)


@dataclass
class _Door:
    api: Api
    engines: Sequence[EngineResource]
    listening: socket.socket
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    server: Emulator | None = None

    def __post_init__(self) -> None:
        self.listening.bind((HOST, 0))
        self.listening.listen(WAITING)
        self.url = f"http://{HOST}:{self.listening.getsockname()[1]}"

    def open(self) -> None:
        """Begin to serve; a client waits in the socket's queue already."""
        from qrmi_core.gateway.device import Device
        from qrmi_core.gateway.dialects import DialectOptions
        from qrmi_core.gateway.dialects.offered import Offered
        from qrmi_core.gateway.emulator import Emulator

        devices = {engine.name: Device(engine) for engine in self.engines}
        offered = Offered(devices, {engine.name: engine.imitates() for engine in self.engines})
        options = DialectOptions(key=self.token, any_account=True, hold=HOLD)
        self.server = Emulator(
            self.api.dialect, offered.first, options=options, offered=offered, listening=self.listening
        )
        self.server.dialect.url = self.url
        self.server.__enter__()

    def close(self) -> None:
        """End; what no lease will end is cancelled, since nobody could ask for it any more."""
        self.listening.close()
        if self.server is not None:
            self.server.__exit__(None, None, None)
            for device in self.server.devices:
                if device.resource.context.acquisition_token is None:
                    _cancel(device)


class LocalDoors:
    """The APIs that the engines among an allocation's resources can serve, while its ``with`` block runs.

    An API that one of the allocation's real resources has too, by its type in ``real``, is not served: a program that
    asks for the QPU must not be handed a simulator. ``say`` tells the user, in one line, why no program can be served.
    """

    def __init__(
        self, engines: Sequence[EngineResource], *, real: Collection[str] = (), say: Callable[[str], None]
    ) -> None:
        self._engines = engines
        self._real = frozenset(real)
        self._say = say
        self._doors: list[_Door] = []
        self._thread = threading.Thread(target=self._wait_for_clients, name="vendor APIs", daemon=True)

    @property
    def variables(self) -> dict[str, str]:
        """What leads vendors' clients here; empty where there is nothing for them."""
        return {name: value for door in self._doors for name, value in door.api.variables(door.url, door.token).items()}

    def __enter__(self) -> Self:
        for api in APIS:
            engines = [engine for engine in self._engines if api.takes in engine.takes]
            if engines and not api.types & self._real:
                self._doors.append(_Door(api, engines, socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
        if self._doors:
            self._ending, self._end = socket.socketpair()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._doors:
            self._end.close()
            self._thread.join()
            self._ending.close()
        for door in self._doors:
            door.close()

    def _wait_for_clients(self) -> None:
        waiting = {door.listening: door for door in self._doors}
        while waiting:
            ready, _, _ = select.select([self._ending, *waiting], [], [])
            if self._ending in ready:
                return
            for listening in ready:
                door = waiting.pop(listening)
                try:
                    door.open()
                except ImportError as error:
                    self._say(
                        f"the program asks for the API of {door.api.dialect}, which needs a package that is missing "
                        f"({error.name}): pip install 'qrmi-providers[gateway]'"
                    )
                    listening.close()
                except Exception as error:  # noqa: BLE001  the program goes on and is told that nobody answers
                    self._say(f"the API of {door.api.dialect} cannot be served: {type(error).__name__}: {error}")
                    listening.close()


def _cancel(device: Device) -> None:
    for task_id in device.task_ids:
        with contextlib.suppress(QRMIError):
            device.resource.task_stop(task_id)
