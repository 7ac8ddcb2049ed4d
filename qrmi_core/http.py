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
import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from qrmi_core import polling
from qrmi_core.errors import AuthenticationFailed, ResultError, VendorError, VendorUnreachable
from qrmi_core.exchanges import Body, ExchangeFailed, without_query
from qrmi_core.http_settings import HttpSettings
from qrmi_core.submission import Undecided
from qrmi_core.tokens import BearerToken

__all__ = ["HttpClient", "Response", "Told"]

_log = logging.getLogger(__name__)

STILL_AT_WORK = frozenset({502, 504, 520, 521, 522, 524})
"""Answers of what stands in front of a server, which may be at work on the request still."""

RETRIED = frozenset({408, 425, 429, 500, 503, *STILL_AT_WORK})
NO_CONNECTION = 20.0
"""Seconds for which a server that takes no connection is tried: it restarts, or its address is wrong."""

TELL_AFTER = 5.0
LONGEST_EXCERPT = 2000
LARGE = 2**16
SIGNED = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=|Bearer\s+)[^&\s\"'<>]+", re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """An answer whose body has arrived whole; ``url`` has no query."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str
    _decoded: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The decoded body, always the same object.

        Raises:
            ResultError: it is not JSON, perhaps because it was cut off.
        """
        if not self._decoded:
            try:
                self._decoded.append(json.loads(self.body))
            except (ValueError, RecursionError) as error:
                raise ResultError(f"{self.url} answered with what is not JSON: {error}", transient=True) from error
        return self._decoded[0]


@dataclass(frozen=True)
class Told:
    """What a vendor's error body says."""

    message: str | None = None
    code: str | None = None
    solution: str | None = None


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    shown: str
    headers: dict[str, str] = field(repr=False)
    data: Body | None = field(repr=False)


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
        address: str = "the address",
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
            address: the variable that holds the base, likewise.
            told: reads a vendor's error body.
            also_retried: statuses besides 429 that mean "not now, and nothing was done", such as 423.
        """
        from qrmi_core.transport import Transport  # takes a tenth of a second, and only who asks a server needs it

        self.base = base.rstrip("/")
        self._shown_base = without_query(self.base)
        self.settings = settings
        self._resource = resource
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", **(headers or {})}
        self._fresh_headers = fresh_headers
        self._token = token
        self._secrets = _spellings(secrets)
        self._credentials = credentials
        self._told = told or (lambda _: Told())
        self._refused_for_now = {429, *also_retried}
        self._transport = Transport(settings, resource, address)
        self._told_trouble = -math.inf

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
        data: Body | None = None,
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
        start = time.monotonic()
        for attempt in itertools.count():
            try:
                response = self._sent(request)
            except ExchangeFailed as failure:
                problem = self._unreachable(failure)
                if failure.sent:
                    raise Undecided(problem, at_work=failure.silent) from failure
                if not failure.again or not self._pause(attempt, start, problem, limit=NO_CONNECTION):
                    raise problem from failure
                continue
            if _is_success(response):
                if json_only and not _is_json(response):
                    raise Undecided(self._error(response, "its answer is not JSON, perhaps it was cut off"))
                return response
            error = self._error(response)
            if response.status >= 500 or response.status == 408:
                raise Undecided(error, at_work=response.status in STILL_AT_WORK)
            for_now = patient and response.status in self._refused_for_now
            if not for_now or not self._pause(attempt, start, error):
                raise error
        raise AssertionError("an attempt returns, raises or is followed by another")

    def close(self) -> None:
        """Close the kept connections; the next request opens new ones."""
        self._transport.close()

    def _retried(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        data: Body | None = None,
        json_only: bool = False,
    ) -> Response:
        request = self._request(method, path, body=body, data=data, query=query, headers=headers)
        start = time.monotonic()
        for attempt in itertools.count():
            try:
                response = self._sent(request)
            except ExchangeFailed as failure:
                problem = self._unreachable(failure)
                limit = None if failure.sent else NO_CONNECTION
                if not failure.again or not self._pause(attempt, start, problem, limit=limit):
                    raise problem from failure
                continue
            if not _is_success(response):
                error = self._error(response)
                if not error.transient or not self._pause(attempt, start, error):
                    raise error
            elif not json_only or _is_json(response):
                return response
            elif not self._pause(attempt, start, self._error(response, "its answer is cut off, or no JSON")):
                response.json()
        raise AssertionError("an attempt returns, raises or is followed by another")

    def _pause(
        self, attempt: int, start: float, problem: VendorError | VendorUnreachable, *, limit: float | None = None
    ) -> bool:
        """Wait before another attempt; False when the deadline would pass meanwhile."""
        pause = polling.backoff(attempt)
        if isinstance(problem, VendorError) and problem.retry_after is not None:
            pause = max(pause, problem.retry_after)
        now = time.monotonic()
        tried = self.settings.deadline if limit is None else min(limit, self.settings.deadline)
        deadline = start + tried
        if (caller := polling.callers_deadline()) is not None:
            deadline = min(deadline, caller)
        if now + pause > deadline:
            return False
        if now - start < TELL_AFTER <= now + pause - start and now - self._told_trouble > TELL_AFTER:
            self._told_trouble = now  # requests that are made at the same time are told of once
            _log.warning("%s. It is tried again for %.0f s", problem, deadline - now)
        polling.pause(pause)
        return True

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any,
        data: Body | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> _Request:
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        url = f"{self.base}{path}"
        if query:
            url = f"{url}?{urlencode(query, doseq=True)}"
        return _Request(method, url, f"{self._shown_base}{path.partition('?')[0]}", sent, data)

    def _sent(self, request: _Request) -> Response:
        """One request, or two when the token had to be fetched anew."""
        if self._token is None:
            return self._exchange(request, None)
        token = self._token.current()
        response = self._exchange(request, token.value)
        if response.status == 401:
            self._token.reject(token)
            response = self._exchange(request, self._token.current().value)
        return response

    def _exchange(self, request: _Request, token: str | None) -> Response:
        """Send one request and read its whole answer.

        Raises:
            ExchangeFailed: no whole answer came.
        """
        headers = dict(request.headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if self._fresh_headers is not None:
            headers.update(self._fresh_headers())
        caller = polling.callers_deadline()
        patience = None if caller is None else max(1.0, caller - time.monotonic())
        status, answered, body = self._transport.exchange(
            request.method, request.url, headers, request.data, patience=patience
        )
        _log.debug("%s %s: %s, %d bytes", request.method, request.shown, status, len(body))
        return Response(status, answered, body, request.shown)

    def _error(self, response: Response, problem: str = "") -> VendorError:
        told = self._told_by(response)
        status = response.status
        where = f"{self._resource}: {response.url}"
        said = (problem or told.message or self._excerpt(response) or "no reason was given").rstrip(". ")
        fields: dict[str, Any] = {
            "resource": self._resource,
            "http_status": status,
            "code": told.code,
            "reason": told.message and self._clean(told.message),
            "solution": told.solution and self._clean(told.solution),
        }
        code = f", code {told.code}" if told.code else ""
        solution = f". {told.solution.rstrip('. ')}" if told.solution else ""
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

    def _unreachable(self, failure: ExchangeFailed) -> VendorUnreachable:
        return VendorUnreachable(
            self._clean(f"{self._resource}: {failure}"),
            transient=failure.sent or failure.again,
            resource=self._resource,
        )

    def _clean(self, text: str) -> str:
        """The text without anything secret."""
        token = self._token.known if self._token else None
        for secret in [*self._secrets, *_spellings([token] if token else [])]:
            text = text.replace(secret, "***")
        return SIGNED.sub(r"\1***", text)


def _spellings(secrets: Collection[str]) -> list[str]:
    """Each secret as it is, as it stands in forms and URLs, and in base64; the longest first."""
    found = set()
    for secret in filter(None, secrets):
        found |= {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()}
    return sorted(found, key=len, reverse=True)


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300


def _is_json(response: Response) -> bool:
    """Whether a body is whole; of a large one, which somebody else may decode, the texts are not looked into."""
    body = response.body
    try:
        if len(body) < LARGE or b"\\" in body:
            response.json()
        else:
            parts = body.split(b'"')  # what is outside of texts, and what is inside, in turns
            json.loads(b'""'.join(parts[::2]) if len(parts) % 2 else body)
    except (ResultError, ValueError, RecursionError):
        return False
    return True


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After")
    if not value:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, moment - time.time())
