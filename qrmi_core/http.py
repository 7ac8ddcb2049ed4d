# SPDX-License-Identifier: Apache-2.0
"""One HTTP client for all drivers: time-outs, retries, tokens, and submissions that happen once.

Reads are retried freely: after connection errors, resets, truncated bodies, 429 (``Retry-After`` is honoured,
seconds and dates), 500, 502, 503 and 504, with jittered backoff, until a deadline. A server that is silent for the
whole time-out is not asked again. A submission is sent again only when it provably did not arrive; otherwise
:class:`~qrmi_core.submission.Undecided` is raised and the driver looks. Nothing secret stands in an error or a log
line: no header, no query of a URL, and no value that is known to be secret even where a server echoes it.
"""

from __future__ import annotations

import base64
import email.utils
import itertools
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from qrmi_core import polling
from qrmi_core.errors import AuthenticationFailed, QRMIError, ResultError, VendorError, VendorUnreachable
from qrmi_core.http_settings import CA, CONNECT_TIMEOUT, READ_TIMEOUT, HttpSettings
from qrmi_core.submission import Undecided
from qrmi_core.tokens import BearerToken, Token

__all__ = ["HttpClient", "Response", "Told"]

_log = logging.getLogger(__name__)

RETRIED = frozenset({429, 500, 502, 503, 504})
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
LONGEST_EXCERPT = 2000
POOL = 32


@dataclass(frozen=True)
class Response:
    """An answer whose body has arrived whole; ``url`` has no query."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The decoded body.

        Raises:
            ResultError: it is not JSON, perhaps because it was cut off.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ResultError(f"{self.url} answered with what is not JSON: {error}", transient=True) from error


@dataclass(frozen=True)
class Told:
    """What a vendor's error body says."""

    message: str | None = None
    code: str | None = None
    solution: str | None = None


class _NotConnected(requests.ConnectionError):
    """No connection was made, so nothing was sent."""


class HttpClient:
    """Talks to one base URL; thread-safe, connections are kept and shared."""

    def __init__(
        self,
        base: str,
        settings: HttpSettings,
        *,
        resource: str,
        headers: Mapping[str, str] | None = None,
        fresh_headers: Callable[[], Mapping[str, str]] | None = None,
        token: BearerToken | None = None,
        secrets: Collection[str] = (),
        credentials: str = "the credentials",
        told: Callable[[Response], Told] | None = None,
        also_retried: Collection[int] = (),
    ) -> None:
        """Reach a server; nothing is sent yet.

        Args:
            base: the URL in front of every path, with or without a slash at its end.
            settings: time-outs, certificates and proxy.
            resource: the resource's name, for texts.
            headers: sent with every request.
            fresh_headers: makes headers anew whenever a request is sent: a credential that is good once.
            token: the bearer token, where the server takes one.
            secrets: values that stand in no text.
            credentials: the variables that hold the credentials, as in "check ...".
            told: reads a vendor's error body.
            also_retried: statuses besides 429 that mean "not now, and nothing was done", such as 423.
        """
        self.base = base.rstrip("/")
        self.settings = settings
        self._resource = resource
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", **(headers or {})}
        self._fresh_headers = fresh_headers
        self._token = token
        self._secrets = _spellings(secrets)
        self._credentials = credentials
        self._told = told or (lambda _: Told())
        self._refused_for_now = {429, *also_retried}
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        self._adapter_lock = threading.Lock()
        self._adapter_of: tuple[int, HTTPAdapter] | None = None

    def get(
        self, path: str, *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Read; retried until the deadline.

        Raises:
            AuthenticationFailed: 401, also with a new token, or 403.
            VendorError: any other status that is no success.
            VendorUnreachable: no answer came within the deadline.
        """
        return self._retried("GET", path, query=query, headers=headers)

    def get_json(
        self, path: str, *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Read JSON and decode it; a body that is not JSON is fetched again, as one that was cut off.

        Raises:
            ResultError: it still is not at the deadline.
            QRMIError: see :meth:`get`.
        """
        return self._retried("GET", path, query=query, headers=headers, json_only=True).json()

    def get_document(
        self, path: str, *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Like :meth:`get_json`, but the JSON is returned as it came."""
        return self._retried("GET", path, query=query, headers=headers, json_only=True).body

    def change(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json_only: bool = False,
    ) -> Response:
        """Send what may be sent twice without harm (cancel, close, replace, ask for a token); retried like a read."""
        return self._retried(method, path, body=body, data=data, query=query, headers=headers, json_only=json_only)

    def submit(
        self,
        path: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json_only: bool = True,
        patient: bool = True,
    ) -> Response:
        """POST what must happen once; see :func:`~qrmi_core.submission.submit_once` for what comes after.

        With ``patient`` off, a refusal for now (429) is raised at once, for a caller that waits in its own way.

        Raises:
            Undecided: it was sent, and no answer tells whether it was taken.
            AuthenticationFailed, VendorError: it was refused.
            VendorUnreachable: it was never sent.
        """
        request = self._request("POST", path, body=body, data=data, query=query, headers=headers)
        deadline = time.monotonic() + self.settings.deadline
        for attempt in itertools.count():
            try:
                response = self._sent(request)
            except requests.RequestException as error:
                problem = self._unreachable(request, error)
                if not _was_never_sent(error):
                    raise Undecided(problem) from error
                if not isinstance(error, _NotConnected) or not self._pause(attempt, deadline, None):
                    raise problem from error
            else:
                if _is_success(response):
                    if json_only and not _is_json(response):
                        raise Undecided(self._error(response, "its answer is not JSON, perhaps it was cut off"))
                    return response
                if response.status >= 500:
                    raise Undecided(self._error(response))
                for_now = patient and response.status in self._refused_for_now
                if not for_now or not self._pause(attempt, deadline, response):
                    raise self._error(response)
        raise AssertionError("an attempt returns, raises or is followed by another")

    def close(self) -> None:
        """Close the kept connections; the next request opens new ones."""
        with self._adapter_lock:
            if self._adapter_of is not None:
                self._adapter_of[1].close()
                self._adapter_of = None

    def _retried(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        data: bytes | None = None,
        json_only: bool = False,
    ) -> Response:
        request = self._request(method, path, body=body, data=data, query=query, headers=headers)
        deadline = time.monotonic() + self.settings.deadline
        for attempt in itertools.count():
            try:
                response = self._sent(request)
            except requests.RequestException as error:
                if not _worth_a_retry(error) or not self._pause(attempt, deadline, None):
                    raise self._unreachable(request, error) from error
            else:
                if _is_success(response):
                    if not json_only or _is_json(response):
                        return response
                    if not self._pause(attempt, deadline, None):
                        response.json()
                elif response.status not in RETRIED | self._refused_for_now or not self._pause(
                    attempt, deadline, response
                ):
                    raise self._error(response)
        raise AssertionError("an attempt returns, raises or is followed by another")

    def _pause(self, attempt: int, deadline: float, response: Response | None) -> bool:
        """Wait before another attempt; False when the deadline would pass meanwhile."""
        pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        if response is not None and (asked := _retry_after(response.headers)) is not None:
            pause = asked
        if time.monotonic() + pause > deadline:
            return False
        polling.pause(pause)
        return True

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any,
        data: bytes | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> requests.PreparedRequest:
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        url = f"{self.base}{path}"
        if query:
            url = f"{url}?{urlencode(query, doseq=True)}"
        try:
            return requests.Request(method, url, sent, data=data).prepare()
        except (requests.RequestException, ValueError) as error:
            raise VendorUnreachable(
                f"{self._resource}: {_without_query(url)} is no address that can be reached ({error}): "
                f"http://... or https://... was expected",
                resource=self._resource,
            ) from error

    def _sent(self, request: requests.PreparedRequest) -> Response:
        """One request, or two when the token had to be fetched anew."""
        if self._token is None:
            return self._exchange(request, None)
        token = self._token.current()
        response = self._exchange(request, token)
        if response.status == 401:
            self._token.reject(token)
            response = self._exchange(request, self._token.current())
        return response

    def _exchange(self, request: requests.PreparedRequest, token: Token | None) -> Response:
        """Send one request and read its whole answer.

        Raises:
            requests.RequestException: no whole answer came.
        """
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token.value}"
        if self._fresh_headers is not None:
            request.headers.update(self._fresh_headers())
        settings = self.settings
        url = _without_query(request.url or "")
        try:
            answer = self._adapter().send(
                request,
                timeout=(settings.connect_timeout, settings.read_timeout),
                verify=settings.ca or True,
                cert=(settings.certificate, settings.key)
                if settings.certificate and settings.key
                else settings.certificate,
                proxies=self._chosen_proxies(),
            )
            content = answer.content
        except requests.ConnectionError as error:
            if _never_connected(error) and not isinstance(error, requests.Timeout | requests.exceptions.SSLError):
                raise _NotConnected(*error.args) from error
            raise
        except OSError as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(error) from error
        _log.debug("%s %s: %s, %d bytes", request.method, url, answer.status_code, len(content))
        return Response(answer.status_code, answer.headers, content, url)

    def _chosen_proxies(self) -> Mapping[str, str]:
        if self._proxies is None:
            self._proxies = get_environ_proxies(self.base)
        return self._proxies

    def _adapter(self) -> HTTPAdapter:
        """The connections of this process: a fork must not share those of its parent."""
        with self._adapter_lock:
            if self._adapter_of is None or self._adapter_of[0] != os.getpid():
                self._adapter_of = os.getpid(), HTTPAdapter(pool_maxsize=POOL, max_retries=0)
            return self._adapter_of[1]

    def _error(self, response: Response, problem: str = "") -> VendorError:
        told = self._told_by(response)
        status = response.status
        where = f"{self._resource}: {response.url}"
        said = problem or told.message or self._excerpt(response) or "no reason was given"
        fields: dict[str, Any] = {
            "resource": self._resource,
            "http_status": status,
            "code": told.code,
            "reason": told.message and self._clean(told.message),
            "solution": told.solution and self._clean(told.solution),
        }
        code = f", code {told.code}" if told.code else ""
        solution = f". {told.solution}" if told.solution else ""
        text = self._clean(f"{where} answered {status}{code}: {said}{solution}")
        if status in {401, 403}:
            kind = "refuses the credentials" if status == 401 else "forbids this to the credentials"
            return AuthenticationFailed(f"{text}. It {kind}: check {self._credentials}", **fields)
        if 300 <= status < 400:
            text = f"{text}. It redirects, which is not followed: check the address"
        error = VendorError(text, transient=status in RETRIED or status in self._refused_for_now, **fields)
        error.retry_after = _retry_after(response.headers)
        return error

    def _told_by(self, response: Response) -> Told:
        try:
            return self._told(response)
        except (ResultError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return Told()

    def _excerpt(self, response: Response) -> str:
        kind = response.headers.get("Content-Type", "")
        return "" if "html" in kind else " ".join(response.text[:LONGEST_EXCERPT].split())

    def _unreachable(self, request: requests.PreparedRequest, error: requests.RequestException) -> QRMIError:
        url = _without_query(request.url or "")
        why = " ".join(_innermost(error).split()) or type(error).__name__
        if isinstance(error, requests.exceptions.ProxyError):
            text = f"the proxy for {url} cannot be used: {why}"
        elif isinstance(error, requests.exceptions.SSLError):
            text = (
                f"no safe connection to {url}: {why}. If the server's certificate is from an authority of the site, "
                f"name the authority's file in {CA} of {self._resource}"
            )
        elif isinstance(error, requests.Timeout):
            if _never_connected(error):
                what, variable = f"took no connection for {self.settings.connect_timeout:g} s", CONNECT_TIMEOUT
            else:
                what, variable = f"was silent for {self.settings.read_timeout:g} s", READ_TIMEOUT
            text = f"{url} {what}: try again later, or allow more time with {variable} of {self._resource}"
        elif _never_connected(error):
            text = f"{url} cannot be reached: {why}. Check the address, and that the server runs"
        else:
            text = f"the answer of {url} did not arrive: {why}"
        return VendorUnreachable(self._clean(f"{self._resource}: {text}"), transient=True, resource=self._resource)

    def _clean(self, text: str) -> str:
        """The text without anything secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _spellings(secrets: Collection[str]) -> list[str]:
    """Each secret as it is, as it stands in forms and URLs, and in base64; the longest first."""
    found = set()
    for secret in filter(None, secrets):
        found |= {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()}
    return sorted(found, key=len, reverse=True)


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300


def _is_json(response: Response) -> bool:
    try:
        response.json()
    except ResultError:
        return False
    return True


def _worth_a_retry(error: requests.RequestException) -> bool:
    """Not after silence, which has cost the whole time-out already, nor where the certificate will stay wrong."""
    return not isinstance(error, requests.Timeout | requests.exceptions.SSLError | requests.exceptions.InvalidURL)


def _was_never_sent(error: requests.RequestException) -> bool:
    return _never_connected(error) or isinstance(error, requests.exceptions.SSLError)


def _never_connected(error: BaseException) -> bool:
    if isinstance(error, _NotConnected | requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError | ConnectTimeoutError)


def _innermost(error: BaseException) -> str:
    """What went wrong at the bottom: urllib3 wraps it several times."""
    cause: Any = error
    while True:
        inner = getattr(cause, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in getattr(cause, "args", ()) if isinstance(part, BaseException)), None)
        if inner is None or inner is cause:
            break
        cause = inner
    text = str(cause)
    return text.rpartition(": ")[2] if isinstance(cause, NewConnectionError) else text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, moment - time.time())
