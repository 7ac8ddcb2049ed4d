# SPDX-License-Identifier: Apache-2.0
"""The connections that are kept for one resource: by TLS, through a proxy, or to a unix socket."""

from __future__ import annotations

import os
import queue
import socket
import ssl
import time
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError
from urllib3.util import make_headers

from qrmi_core.http_settings import HttpSettings
from qrmi_core.locks import ForkSafeLock
from qrmi_core.proxies import PORTS, environment_proxy
from qrmi_core.trust import tls_context

__all__ = ["HANDSHAKE", "Connections", "Way"]

POOL = 32
LONGEST_IDLE = 30.0
"""Seconds after which a kept connection is not used again: what stands in between may have forgotten it."""

SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
]
HANDSHAKE = "during_handshake"
"""The attribute of an error of TLS before anything was sent."""


class Way(NamedTuple):
    """The connections to one server.

    ``whole``: a proxy stands in between that wants the whole URL; ``direct``: none does.
    """

    pool: HTTPConnectionPool
    whole: bool = False
    direct: bool = False

    def taken(self) -> HTTPConnection | None:
        """A connection to the server itself that is open and idle, for :meth:`give_back`; None where there is none."""
        if not self.direct or (kept := self.pool.pool) is None:
            return None
        try:
            connection: Any = kept.get_nowait()
        except queue.Empty:
            return None
        if connection is not None and connection.is_connected:
            return cast("HTTPConnection", connection)
        self.give_back(connection)
        return None

    def give_back(self, connection: HTTPConnection | None) -> None:
        """Keep it for the next request, where it is not closed."""
        try:
            self.pool.pool.put_nowait(connection)  # type: ignore[union-attr]
        except (AttributeError, queue.Full):  # the pool has been closed meanwhile
            if connection is not None:
                connection.close()


class Connections:
    """The connections of one resource by their servers; thread-safe."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._lock = ForkSafeLock()
        self._ways: dict[tuple[str, str], Way] = {}
        self._process = 0
        self._used = 0.0

    def way(self, parts: SplitResult) -> Way:
        """The connections of this process to a URL's server: a fork must not share those of its parent.

        Raises:
            SSLError: a file of certificates cannot be used.
            ProxyError: the proxy's URL cannot.
        """
        key = parts.scheme, parts.netloc
        with self._lock:
            now = time.monotonic()
            if self._process != os.getpid():
                self._ways, self._process = {}, os.getpid()
            elif now - self._used > LONGEST_IDLE:
                self._close()
            self._used = now
            way = self._ways.get(key)
            if way is None:
                way = self._ways[key] = self._made(parts)
            return way

    def used(self) -> None:
        """They are in use until now."""
        self._used = time.monotonic()

    def close(self) -> None:
        """Close them; the next request opens new ones."""
        with self._lock:
            if self._process == os.getpid():
                self._close()

    def _close(self) -> None:
        for way in self._ways.values():
            way.pool.close()
        self._ways = {}

    def _made(self, parts: SplitResult) -> Way:
        settings = self._settings
        host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
        if settings.socket:
            return Way(_UnixPool(settings.socket), direct=True)
        options: dict[str, Any] = {"maxsize": POOL, "socket_options": SOCKET_OPTIONS}
        if parts.scheme == "https":
            options["ssl_context"] = self._tls()
        proxy = settings.proxy or environment_proxy(parts.scheme, host, port)
        if proxy:
            pool = _manager(proxy, options).connection_from_host(host, port, parts.scheme)
            return Way(pool, whole=parts.scheme == "http" and not proxy.lower().startswith("socks"))
        kind: type[HTTPConnectionPool] = _SafePool if parts.scheme == "https" else HTTPConnectionPool
        return Way(kind(host, port, **options), direct=True)

    def _tls(self) -> ssl.SSLContext:
        try:
            return tls_context(self._settings)
        except OSError as error:
            setattr(error, HANDSHAKE, True)
            raise SSLError(error) from error


def _manager(proxy: str, options: dict[str, Any]) -> Any:
    """What makes connections through a proxy.

    Raises:
        ProxyError: that cannot be one.
    """
    try:
        if proxy.lower().startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager  # needs a package that is seldom there

            return SOCKSProxyManager(proxy, num_pools=1, **options)
        parts = urlsplit(proxy)
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        headers = make_headers(proxy_basic_auth=who) if who else None
        manager = ProxyManager(proxy, num_pools=1, proxy_headers=headers, **options)
    except ImportError as error:
        raise ProxyError("", ImportError("a SOCKS proxy needs the package PySocks")) from error
    except ValueError:  # its text may hold the proxy's password
        raise ProxyError("", ValueError("its URL is none that can be used")) from None
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _SafePool}
    return manager


class _SafeConnection(HTTPSConnection):
    """One whose errors tell whether anything was sent."""

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLError as error:
            setattr(error, HANDSHAKE, True)
            raise


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


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


class _UnixPool(HTTPConnectionPool):
    """All of its connections go to the one socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=POOL)
        self.ConnectionCls = type("_UnixConnection", (_UnixConnection,), {"path": path})
