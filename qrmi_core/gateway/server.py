# SPDX-License-Identifier: Apache-2.0
"""The gateway as a service: its listeners, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from qrmi_core.errors import ConfigurationError
from qrmi_core.gateway.admin import admin_application
from qrmi_core.gateway.guard import HTTP_LOG, Guard
from qrmi_core.gateway.metrics import metrics_application
from qrmi_core.gateway.service import Gateway
from qrmi_core.gateway.settings import GatewaySettings, Tls, split_address

__all__ = ["GatewayServer", "serve"]

_log = logging.getLogger(__name__)

LAST_SECONDS = 5.0
"""Seconds that requests get to be answered when the gateway ends."""

IDLE_SECONDS = 30.0
EVERYBODY = 0o666
"""Who may connect to the socket; what they may do, munge decides."""

NO_PAIR = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""How OpenSSL says that a key is that of another certificate; the last, where it is of another kind."""


class GatewayServer:
    """Listens while its ``async with`` block runs.

    ``port`` is that of ``admin_tcp``, ``jobs_port`` of ``jobs``, ``metrics_port`` of ``metrics``.
    """

    def __init__(
        self,
        file: Path,
        settings: GatewaySettings,
        *,
        guard: Guard | None = None,
        listening: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = file
        self._settings = settings
        self._guard = guard or Guard()
        self._listening = listening
        self._stack = contextlib.AsyncExitStack()
        self.port = 0
        self.jobs_port = 0
        self.metrics_port = 0
        self._context: ssl.SSLContext | None = None
        self._reloading = asyncio.Lock()
        self.gateway: Gateway

    async def __aenter__(self) -> Self:
        """Listen, then take up the journal.

        Raises:
            QRMIError: it cannot start, and why.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._check_state_dir()
            if self._settings.tls is not None:
                self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                self._load_certificate(self._context, self._settings.tls)
            self.gateway = Gateway(self._file, self._settings)
            stack.push_async_callback(self.gateway.stop, LAST_SECONDS)
            await self._listen(await self._runner(admin_application(self.gateway, self._guard), stack), stack)
            if (jobs := self._settings.listen.jobs) is not None:
                application = self.gateway.doors.application(self._guard)
                runner = await self._runner(application, stack, auto_decompress=False)  # a spool does it, within limits
                self.jobs_port = await self._listen_at(runner, jobs, "listen.jobs")
            if (metrics := self._settings.listen.metrics) is not None:
                runner = await self._runner(metrics_application(self.gateway, self._guard), stack)
                self.metrics_port = await self._listen_at(runner, metrics, "listen.metrics")
            self._listening()
            stack.callback(self.gateway.doors.stop)
            starting = asyncio.ensure_future(self.gateway.start())
            stack.callback(starting.cancel)
            starting.add_done_callback(_tell)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def reload(self) -> None:
        """Read configuration, certificate, key and credentials again; what is wrong is told, and stays as it was.

        Connections that there are go on as they are. Of a configuration that is refused nothing is taken.
        """
        async with self._reloading:
            before = self.gateway.settings
            await self.gateway.reload()
            settings = self.gateway.settings
            if settings is before:
                return
            if settings.log_level != before.log_level:
                logging.getLogger().setLevel(settings.log_level.upper())
            tls = settings.tls
            if self._context is None or tls is None:
                return
            try:
                # A context is left without a key where the two do not fit, so they are tried in another one.
                self._load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
                self._load_certificate(self._context, tls)
            except ConfigurationError as error:
                _log.error("the certificate before stays in use: %s", error)
            else:
                _log.info("certificate and key were read again")

    async def _runner(
        self, application: web.Application, stack: contextlib.AsyncExitStack, **options: Any
    ) -> web.AppRunner:
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=HTTP_LOG,
            handler_cancellation=True,
            shutdown_timeout=LAST_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
            **options,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await stack.enter_async_context(self._guard.watching(runner))
        return runner

    async def _listen(self, runner: web.AppRunner, stack: contextlib.AsyncExitStack) -> None:
        listen = self._settings.listen
        try:
            if listen.admin is not None:
                path = Path(listen.admin)
                self._check_socket(path)
                await web.UnixSite(runner, str(path)).start()
                stack.callback(_remove, path, _identity(path))
                path.chmod(EVERYBODY)
                _log.info("listening at %s", path)
        except OSError as error:
            raise self._nobody(f"{listen.admin}", "listen.admin", error) from error
        if listen.admin_tcp is not None:
            self.port = await self._listen_at(runner, listen.admin_tcp, "listen.admin_tcp")

    def _check_state_dir(self) -> None:
        """The journal says that its disk is to be looked at, whatever is wrong with the directory."""
        directory = Path(self._settings.state_dir)
        with contextlib.suppress(PermissionError):  # there may be one: the journal tells what is refused
            if not directory.is_dir():
                raise ConfigurationError(
                    f"there is no directory {directory}: make it, owned by the gateway's user, mode 0700",
                    file=str(self._file),
                    place="state_dir",
                )

    def _check_socket(self, path: Path) -> None:
        """Event loops replace a socket that is there without asking whether somebody listens.

        Raises:
            ConfigurationError: something listens there, or it is no socket.
            OSError: nobody can tell.
        """
        try:
            is_socket = stat.S_ISSOCK(path.stat().st_mode)
        except FileNotFoundError:
            return
        if not is_socket:
            message = f"{path} is there and no socket, so it is left alone: remove it, or name another path"
        elif _somebody_listens(path):
            message = f"another gateway listens at {path}: stop it, or name another socket"
        else:
            return
        raise ConfigurationError(message, file=str(self._file), place="listen.admin")

    async def _listen_at(self, runner: web.AppRunner, address: str, place: str) -> int:
        host, port = split_address(address)
        try:
            await web.TCPSite(runner, host, port, ssl_context=self._context).start()
        except OSError as error:
            raise self._nobody(address, place, error) from error
        port = runner.addresses[-1][1]
        _log.info("listening at %s:%s%s", host, port, " with TLS" if self._settings.tls else "")
        return int(port)

    def _nobody(self, address: str, place: str, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"nobody can listen at {address}: {error.strerror or error}", file=str(self._file), place=place
        )

    def _load_certificate(self, context: ssl.SSLContext, tls: Tls) -> None:
        """OpenSSL says neither which of the two files is wrong nor what about it."""
        self._check_pem(tls.cert, "tls.cert", b"CERTIFICATE-----")
        self._check_pem(tls.key, "tls.key", b"PRIVATE KEY-----")
        asked = []

        def password() -> str:  # without one, OpenSSL would ask the terminal
            asked.append(True)
            return ""

        try:
            context.load_cert_chain(tls.cert, tls.key, password=password)
        except OSError as error:
            if asked:
                message = f"{tls.key} has a password, for which nobody can be asked: write a key without one"
            elif getattr(error, "reason", None) in NO_PAIR:
                message = f"{tls.key} does not belong to the certificate {tls.cert}: name the key that was made for it"
            else:
                raise ConfigurationError(
                    f"certificate {tls.cert} and key {tls.key} cannot be used: {error.strerror or error}; look at both "
                    f"with `openssl x509 -in` and `openssl pkey -in`",
                    file=str(self._file),
                    place="tls",
                ) from error
            raise ConfigurationError(message, file=str(self._file), place="tls.key") from error

    def _check_pem(self, path: str, place: str, mark: bytes) -> None:
        try:
            is_there = mark in Path(path).read_bytes()
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror or error}: name one that the gateway's user may read"
            raise ConfigurationError(message, file=str(self._file), place=place) from error
        if not is_there:
            kind = "certificate" if place == "tls.cert" else "private key"
            message = f"there is no {kind} in PEM in {path}: name the file with it"
            raise ConfigurationError(message, file=str(self._file), place=place)


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:  # as many wait there as may
            return True
    return True


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket, unless it is another's by now."""
    with contextlib.suppress(FileNotFoundError):
        if _identity(path) == identity:
            path.unlink()


def _tell(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and (error := starting.exception()) is not None:
        _log.error("the journal cannot be taken up, so nothing is granted: %s", error)


async def serve(file: Path, settings: GatewaySettings, listening: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    ``listening`` is called in the event loop as soon as it listens.

    Raises:
        QRMIError: it cannot start, and why.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with _signalled(loop, GatewayServer(file, settings, listening=listening)):
        await stopping.wait()
        _log.info("ending")


@contextlib.asynccontextmanager
async def _signalled(loop: asyncio.AbstractEventLoop, server: GatewayServer) -> AsyncIterator[None]:
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(server.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    async with server:
        loop.add_signal_handler(signal.SIGHUP, reload)
        yield
