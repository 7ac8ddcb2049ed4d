# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange: connections that are kept, time-outs everywhere, and what a failure tells.

A failure says whether the request was sent, and whether it is worth sending again: that is all that those above need to
know to retry reads and to submit once.
"""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from urllib3 import Retry, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from qrmi_core.connections import HANDSHAKE, Connections, Way
from qrmi_core.environment import TRUSTED
from qrmi_core.exchanges import Body, ExchangeFailed, without_query
from qrmi_core.http_settings import CA, CONNECT_TIMEOUT, DEADLINE, PROXY, READ_TIMEOUT, HttpSettings
from qrmi_core.kept_exchanges import INTERIM, Answer, TooSlow, answered, body_of, written
from qrmi_core.sharing import shared

__all__ = ["ExchangeFailed", "Transport"]

ONCE = Retry(False, redirect=False)
PLAIN = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
"""How versions of OpenSSL say that an answer is no TLS."""


class Transport:
    """Sends requests of one resource; thread-safe."""

    def __init__(self, settings: HttpSettings, resource: str, address: str, *, file: str | None = None) -> None:
        """Send with these settings; ``address`` names the variable that holds the server's address, for texts.

        ``file`` is the file that holds the address and ``ca`` where no variables do; times cannot be set there.
        """
        self._settings = settings
        self._resource = resource
        self._address = address
        self._file = file
        self._authority = f"ca in {file}" if file else f"{CA} of {resource}"
        self._server: tuple[str, SplitResult | None] = ("", None)
        alike = (settings.ca, settings.certificate, settings.key, settings.proxy, settings.socket)
        self._kept = shared(("connections", resource, *alike), lambda: Connections(settings))

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], data: Body | None, *, patience: float | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and read its whole answer: status, headers and body.

        ``patience`` bounds the server's silence where that is shorter than its time-out.

        Raises:
            ExchangeFailed: no whole answer came.
        """
        settings = self._settings
        if data is not None and not isinstance(data, bytes):
            headers = {**headers, "Content-Length": str(data.seek(0, io.SEEK_END))}
            data.seek(0)  # it may be sent for the second time
        silence = settings.read_timeout if patience is None else min(settings.read_timeout, patience)
        parts = self._address_of(url)
        limit = time.monotonic() + max(settings.deadline, settings.read_timeout)
        try:
            way = self._kept.way(parts)
            target = url if way.whole else f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            answer = None
            if data is None or isinstance(data, bytes):
                answer = self._on_kept(way, method, target, headers, data, silence, limit)
            if answer is None:
                answer = self._by_library(way, method, url, target, headers, data, silence, limit)
        except (HTTPError, OSError) as error:
            raise self._failure(url, error, silence) from error
        self._kept.used()
        return answer

    @staticmethod
    def _on_kept(
        way: Way,
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: bytes | None,
        silence: float,
        limit: float,
    ) -> Answer | None:
        """The exchange on a connection that is open already; None where there is none, or it is not for this."""
        connection = way.taken()
        if connection is None:
            return None
        try:
            request = written(connection, method, target, headers, data)
            return answered(connection, method, request, silence, limit) if request else None
        finally:
            way.give_back(connection)

    def _by_library(
        self,
        way: Way,
        method: str,
        url: str,
        target: str,
        headers: Mapping[str, str],
        data: Body | None,
        silence: float,
        limit: float,
    ) -> Answer:
        try:
            answer = way.pool.urlopen(
                method,
                target,
                body=data,
                headers=headers,
                retries=ONCE,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=self._settings.connect_timeout, read=silence),
                preload_content=False,
                decode_content=False,
            )
        except ValueError:
            raise _unwritable(url) from None
        try:
            return answer.status, answer.headers, body_of(answer, limit)
        finally:
            answer.close()
            if answer.status < INTERIM:
                self.close()

    def close(self) -> None:
        """Close the kept connections; the next request opens new ones."""
        self._kept.close()

    def _address_of(self, url: str) -> SplitResult:
        server, known = self._server
        if known is not None and url.startswith(server) and url.isascii() and url.isprintable() and "#" not in url:
            path, _, query = url[len(server) - 1 :].partition("?")
            return known._replace(path=path, query=query)
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018  whether it is one
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            shown = without_query(url)
            text = f"{shown} is no address that can be reached: {self._address} must be http://... or https://..."
            raise ExchangeFailed(text, sent=False, again=False)
        if "@" in parts.netloc:
            text = f"{self._address} holds a user or password, which belong into variables of their own"
            raise ExchangeFailed(text, sent=False, again=False)
        self._server = f"{parts.scheme}://{parts.netloc}/", parts._replace(fragment="")
        return parts

    def _failure(self, url: str, error: BaseException, silence: float) -> ExchangeFailed:
        shown = f"the socket {self._settings.socket}" if self._settings.socket else without_query(url)
        cause = _cause(error)
        why = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(error, TooSlow):
            text = f"{shown} answered too slowly: its answer was not there after {self._settings.deadline:g} s"
            limit = ": try again later" if self._file else f" ({DEADLINE} of {self._resource})"
            return ExchangeFailed(f"{text}{limit}", sent=True, again=False, silent=True)
        if isinstance(error, ProxyError):
            named = "https_proxy and no_proxy of the environment" if self._file else f"{PROXY} of {self._resource}"
            text = f"the proxy for {shown} cannot be used: {_short(cause)}. Check {named}"
            return ExchangeFailed(text, sent=False, again=True)
        if isinstance(cause, NewConnectionError):
            text = f"{shown} cannot be reached: {_short(cause)}. {self._unreached(cause)}"
            return ExchangeFailed(text, sent=False, again=True)
        if isinstance(cause, ConnectTimeoutError):
            waited = f"took no connection for {self._settings.connect_timeout:g} s"
            return ExchangeFailed(f"{shown} {waited}: {self._later(CONNECT_TIMEOUT)}", sent=False, again=False)
        if isinstance(cause, ReadTimeoutError | TimeoutError):
            text = f"{shown} was silent for {silence:g} s"
            return ExchangeFailed(f"{text}: {self._later(READ_TIMEOUT)}", sent=True, again=False, silent=True)
        if isinstance(cause, SSLError):
            return self._unsafe(shown, cause, why)
        return ExchangeFailed(f"the answer of {shown} did not arrive: {why}", sent=True, again=True)

    def _later(self, variable: str) -> str:
        more = "" if self._file else f", or allow more time with {variable} of {self._resource}"
        return f"try again later{more}"

    def _unreached(self, cause: NewConnectionError) -> str:
        if not self._settings.socket:
            return f"Check {self._address}, and that the server runs"
        if isinstance(cause.__cause__, PermissionError):
            return f"This user may not use it; check {self._address}"
        return f"Either {self._resource} does not run, or {self._address} is wrong"

    def _unsafe(self, shown: str, error: SSLError, why: str) -> ExchangeFailed:
        before = [part for part in error.args if getattr(part, HANDSHAKE, False)]
        if not before:
            return ExchangeFailed(f"the safe connection to {shown} broke: {why}", sent=True, again=True)
        hint = ""
        if "CERTIFICATE_VERIFY_FAILED" in why:
            hint = (
                f". If the server's certificate is from an authority of the site, name the authority's file in "
                f"{self._authority}"
            )
        elif any(reason in why for reason in PLAIN):
            hint = (
                f". What listens there speaks no TLS: check {self._address}, whether its port is right, or it must "
                f"begin with http:// instead of https://"
            )
        elif not any(isinstance(part, ssl.SSLError) for part in before):
            hint = f". {self._named_by()}"
        return ExchangeFailed(f"no safe connection to {shown}: {why}{hint}", sent=False, again=False)

    def _named_by(self) -> str:
        if self._file is None:
            return (
                f"The file is named by a variable QRMI_HTTP_... of {self._resource}, or by {', '.join(TRUSTED)} of the "
                f"environment: name one that can be used"
            )
        if self._settings.ca:
            return f"The file is named by {self._authority}: name one that can be used"
        return f"It holds the authorities that this host trusts: mend it, or name another by {self._authority}"


def _unwritable(url: str) -> ExchangeFailed:
    """What is wrong may be a secret, so the text does not hold it."""
    return ExchangeFailed(
        f"a request to {without_query(url)} cannot be written: a header or the address holds characters that cannot be "
        f"sent, perhaps a line break in a key",
        sent=False,
        again=False,
    )


def _cause(error: BaseException) -> BaseException:
    """What went wrong at the bottom: urllib3 wraps it."""
    cause = error
    while not isinstance(cause, NewConnectionError | ConnectTimeoutError | ReadTimeoutError | SSLError):
        inner: Any = cause.original_error if isinstance(cause, ProxyError) else None
        if inner is None:
            inner = next((part for part in cause.args if isinstance(part, BaseException)), None)
        if not isinstance(inner, BaseException) or inner is cause:
            break
        cause = inner
    return cause


def _short(cause: BaseException) -> str:
    """Without the object in front that urllib3 writes: ``<HTTPConnection ...>: Failed to ...: [Errno 111] ...``."""
    text = " ".join(str(cause).split())
    return text.rpartition(": ")[2] if isinstance(cause, NewConnectionError) else text
