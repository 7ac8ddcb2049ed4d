# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange: connections that are kept, time-outs everywhere, and what a failure tells.

A failure says whether the request was sent, and whether it is worth sending again: that is all that those above need to
know to retry reads and to submit once.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from qrmi_core.exchanges import ExchangeFailed, without_query
from qrmi_core.http_settings import CA, CONNECT_TIMEOUT, DEADLINE, PROXY, READ_TIMEOUT, HttpSettings
from qrmi_core.locks import ForkSafeLock
from qrmi_core.sharing import shared

__all__ = ["ExchangeFailed", "Transport"]

POOL = 32
PIECE = 2**16
LONGEST_IDLE = 30.0
"""Seconds after which a kept connection is not used again: what stands in between may have forgotten it."""

KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Connections:
    """The connections that are kept for one resource; thread-safe."""

    def __init__(self, path: str | None) -> None:
        """``path`` is the unix socket to which all of them go, None: wherever the URLs say."""
        self._path = path
        self._lock = ForkSafeLock()
        self._adapter: HTTPAdapter | None = None
        self._process = 0
        self._used = 0.0

    def adapter(self) -> HTTPAdapter:
        """The connections of this process: a fork must not share those of its parent."""
        with self._lock:
            idle = time.monotonic() - self._used
            if self._adapter is not None and self._process == os.getpid() and idle > LONGEST_IDLE:
                self._adapter.close()
                self._adapter = None
            if self._adapter is None or self._process != os.getpid():
                adapter = _UnixAdapter(self._path) if self._path else _Adapter(pool_maxsize=POOL, max_retries=0)
                self._adapter, self._process = adapter, os.getpid()
            self._used = time.monotonic()
            return self._adapter

    def used(self) -> None:
        """They are in use until now."""
        self._used = time.monotonic()

    def close(self) -> None:
        """Close them; the next request opens new ones."""
        with self._lock:
            if self._adapter is not None and self._process == os.getpid():
                self._adapter.close()
            self._adapter = None


class Transport:
    """Sends requests of one resource; thread-safe."""

    def __init__(self, settings: HttpSettings, resource: str, address: str) -> None:
        """Send with these settings; ``address`` names the variable that holds the server's address, for texts."""
        self._settings = settings
        self._resource = resource
        self._address = address
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        if settings.socket:
            self._proxies = {}
        alike = (settings.ca, settings.certificate, settings.key, settings.proxy, settings.socket)
        self._kept = shared(("connections", resource, *alike), lambda: Connections(settings.socket))

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, *, patience: float | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and read its whole answer: status, headers and body.

        ``patience`` bounds the server's silence where that is shorter than its time-out.

        Raises:
            ExchangeFailed: no whole answer came.
        """
        settings = self._settings
        silence = settings.read_timeout if patience is None else min(settings.read_timeout, patience)
        request = self._prepared(method, url, headers, data)
        limit = time.monotonic() + max(settings.deadline, settings.read_timeout)
        certificate = settings.certificate
        try:
            answer = self._kept.adapter().send(
                request,
                stream=True,
                timeout=(settings.connect_timeout, silence),
                verify=settings.ca or True,
                cert=(certificate, settings.key) if certificate and settings.key else certificate,
                proxies=self._chosen_proxies(url),
            )
            with answer:
                body = self._body(answer, limit)
        except requests.RequestException as error:
            raise self._failure(url, error, silence) from error
        except (HTTPError, OSError) as error:
            raise self._failure(url, error, silence) from error
        except UnicodeError:
            raise _unwritable(url) from None
        self._kept.used()
        return answer.status_code, answer.headers, body

    def close(self) -> None:
        """Close the kept connections; the next request opens new ones."""
        self._kept.close()

    def _prepared(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> requests.PreparedRequest:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            shown = without_query(url)
            text = f"{shown} is no address that can be reached: {self._address} must be http://... or https://..."
            raise ExchangeFailed(text, sent=False, again=False)
        if "@" in parts.netloc:
            text = f"{self._address} holds a user or password, which belong into variables of their own"
            raise ExchangeFailed(text, sent=False, again=False)
        try:
            return requests.Request(method, url, dict(headers), data=data).prepare()
        except (requests.RequestException, ValueError):
            raise _unwritable(url) from None

    @staticmethod
    def _body(answer: requests.Response, limit: float) -> bytes:
        pieces = []
        while piece := answer.raw.read1(PIECE, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > limit:
                raise _TooSlow
        return b"".join(pieces)

    def _chosen_proxies(self, url: str) -> Mapping[str, str]:
        if self._proxies is None:
            self._proxies = get_environ_proxies(url)
        return self._proxies

    def _failure(self, url: str, error: BaseException, silence: float) -> ExchangeFailed:
        shown = without_query(url)
        cause = _cause(error)
        why = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(error, _TooSlow):
            text = f"{shown} answered too slowly: its answer was not there after {self._settings.deadline:g} s"
            return ExchangeFailed(f"{text} ({DEADLINE} of {self._resource})", sent=True, again=False, silent=True)
        if isinstance(error, requests.exceptions.ProxyError):
            text = f"the proxy for {shown} cannot be used: {_short(cause)}. Check {PROXY} of {self._resource}"
            return ExchangeFailed(text, sent=False, again=True)
        if isinstance(cause, NewConnectionError):
            text = f"{shown} cannot be reached: {_short(cause)}. Check {self._address}, and that the server runs"
            return ExchangeFailed(text, sent=False, again=True)
        if isinstance(cause, ConnectTimeoutError):
            waited = f"took no connection for {self._settings.connect_timeout:g} s"
            return ExchangeFailed(
                f"{shown} {waited}: try again later, or allow more time with {CONNECT_TIMEOUT} of {self._resource}",
                sent=False,
                again=False,
            )
        if isinstance(cause, ReadTimeoutError | TimeoutError):
            text = f"{shown} was silent for {silence:g} s"
            hint = f"try again later, or allow more time with {READ_TIMEOUT} of {self._resource}"
            return ExchangeFailed(f"{text}: {hint}", sent=True, again=False, silent=True)
        if isinstance(cause, SSLError):
            return self._unsafe(shown, cause, why)
        return ExchangeFailed(f"the answer of {shown} did not arrive: {why}", sent=True, again=True)

    def _unsafe(self, shown: str, error: SSLError, why: str) -> ExchangeFailed:
        if not any(getattr(part, _HANDSHAKE, False) for part in error.args):
            return ExchangeFailed(f"the safe connection to {shown} broke: {why}", sent=True, again=True)
        hint = ""
        if "CERTIFICATE_VERIFY_FAILED" in why:
            hint = (
                f". If the server's certificate is from an authority of the site, name the authority's file in {CA} "
                f"of {self._resource}"
            )
        return ExchangeFailed(f"no safe connection to {shown}: {why}{hint}", sent=False, again=False)


class _TooSlow(OSError):
    """An answer came in pieces, and not within the deadline."""


_HANDSHAKE = "during_handshake"


class _SafeConnection(HTTPSConnection):
    """One whose errors tell whether anything was sent."""

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLError as error:
            setattr(error, _HANDSHAKE, True)
            raise


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


class _Adapter(HTTPAdapter):
    """Connections that notice when the other side is gone."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        options["socket_options"] = [*HTTPConnection.default_socket_options, *KEEPALIVE]
        super().init_poolmanager(*arguments, **options)
        _make_safe(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        _make_safe(manager)
        return manager


class _UnixConnection(HTTPConnection):
    """One to a unix socket, with the errors of one to a host."""

    path = ""

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        timeout: Any = self.timeout
        connection.settimeout(timeout)
        try:
            connection.connect(self.path)
        except TimeoutError as error:
            connection.close()
            raise ConnectTimeoutError(self, f"{self.path} timed out") from error
        except OSError as error:
            connection.close()
            raise NewConnectionError(self, f"{self.path}: {error}") from error
        return connection


class _UnixAdapter(HTTPAdapter):
    """Every request goes to the one socket."""

    def __init__(self, path: str) -> None:
        super().__init__(pool_maxsize=POOL, max_retries=0)
        self._pool = HTTPConnectionPool("localhost", maxsize=POOL)
        self._pool.ConnectionCls = type("_UnixConnection", (_UnixConnection,), {"path": path})

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()


def _make_safe(manager: Any) -> None:
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _SafePool}


def _unwritable(url: str) -> ExchangeFailed:
    """What is wrong may be a secret, so the text does not hold it."""
    return ExchangeFailed(
        f"a request to {without_query(url)} cannot be written: a header or the address holds characters that cannot be "
        f"sent, perhaps a line break in a key",
        sent=False,
        again=False,
    )


def _cause(error: BaseException) -> BaseException:
    """What went wrong at the bottom: requests and urllib3 wrap it several times."""
    cause = error
    while True:
        if isinstance(cause, NewConnectionError | ConnectTimeoutError | ReadTimeoutError | SSLError):
            return cause
        inner: Any = getattr(cause, "reason", None) if isinstance(cause, MaxRetryError) else None
        if isinstance(cause, ProxyError):
            inner = cause.original_error
        if inner is None:
            inner = next((part for part in cause.args if isinstance(part, BaseException)), None)
        if not isinstance(inner, BaseException) or inner is cause:
            return cause
        cause = inner


def _short(cause: BaseException) -> str:
    """Without the object in front that urllib3 writes: ``<HTTPConnection ...>: Failed to ...: [Errno 111] ...``."""
    text = " ".join(str(cause).split())
    return text.rpartition(": ")[2] if isinstance(cause, NewConnectionError) else text
