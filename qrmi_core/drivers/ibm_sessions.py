# SPDX-License-Identifier: Apache-2.0
"""Sessions of IBM's cloud: opened when first needed, replaced when they have ended, closed once.

A session ends by itself after its ``max_ttl``: so does one that nobody knows of, because the answer to its creation
was lost, and another was opened instead. It costs nothing, for a session is charged from its first job on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from qrmi_core.drivers.vendor import expect, expect_object
from qrmi_core.errors import QRMIError, ResourceUnavailable, VendorError
from qrmi_core.http import HttpClient
from qrmi_core.locks import ForkSafeLock
from qrmi_core.submission import Undecided, submit_once

__all__ = ["Sessions"]

_log = logging.getLogger(__name__)

GONE = frozenset({404, 409})
REFUSED = frozenset({400, 403})
SHARE_LEFT = 0.01
PAUSE = 1.0


class Sessions:
    """The session of one resource in this process; its threads share it.

    Those that were opened here are remembered until they are closed: where one has ended early, the tasks after it ran
    in another.
    """

    def __init__(
        self,
        api: HttpClient,
        resource: str,
        request: Mapping[str, Any],
        known: str | None,
        *,
        advice: str,
        leased: bool = False,
    ) -> None:
        """Nothing is sent yet.

        Args:
            api: the vendor's API.
            resource: the resource's name, for texts.
            request: what a new session is asked for with: device, mode and ``max_ttl``.
            known: a session that was opened before, by this job's acquisition.
            advice: what to do where a session is refused.
            leased: the session that is known is of a lease, which ends with it.
        """
        self.known = known
        self._api = api
        self._resource = resource
        self._request = request
        self._advice = advice
        self._of_lease = known if leased else None
        self._lock = ForkSafeLock()
        self._opened: dict[str, None] = {}

    def current(self) -> str:
        """The session that is known, else a new one."""
        with self._lock:
            if self.known is None:
                self.known = self._open()
            return self.known

    def checked(self) -> str:
        """The session that is known if it takes jobs, else a new one."""
        with self._lock:
            if self.known is None or not self.takes_jobs(self.known):
                self.known = self._open()
            return self.known

    def replaced(self, session: str) -> str:
        """A session instead of one that takes no jobs any more; threads that meet it at once open one together.

        Raises:
            ResourceUnavailable: it was the session of a lease, and was ended before its time: so was the lease.
        """
        if session == self._of_lease and self._was_ended(session):
            raise ResourceUnavailable(
                f"{self._resource} is not this job's any more: the session of its lease was ended, because the job is "
                f"over for Slurm, or because somebody took the QPU back; submit the job again",
                resource=self._resource,
            )
        with self._lock:
            if self.known in {session, None}:
                self.known = self._open()
            return self.known

    def takes_jobs(self, session: str) -> bool:
        """Whether a session is there, open, and not about to end."""
        document = self._document_if_known(session)
        if document is None:
            return False
        left, most = document.get("active_ttl"), document.get("max_ttl")
        ends_soon = left is not None and most is not None and left <= most * SHARE_LEFT
        return document.get("state") != "closed" and document.get("accepting_jobs") is not False and not ends_soon

    def _was_ended(self, session: str) -> bool:
        """Whether somebody closed a session that could have gone on."""
        document = self._document_if_known(session)
        if document is None:
            return False
        most, used = document.get("max_ttl"), document.get("elapsed_time")
        if not isinstance(most, int | float) or not isinstance(used, int | float):
            return False
        return document.get("state") == "closed" and used < most * (1.0 - SHARE_LEFT) - PAUSE

    def end(self, acquired: str) -> None:
        """End the session of an acquisition, or the one that is known, and all that were opened here.

        Each is tried, whatever becomes of the others; those that could not be ended are tried again next time.

        Raises:
            QRMIError: the first problem.
        """
        with self._lock:
            sessions = dict.fromkeys(filter(None, (acquired or self.known, *self._opened)))
            if self.known in sessions:
                self.known = None
        problems = []
        for session in sessions:
            try:
                self._end(session)
            except QRMIError as error:
                problems.append(error)
            else:
                with self._lock:
                    self._opened.pop(session, None)
        if problems:
            raise problems[0]

    def _end(self, session: str) -> None:
        """Let a session take no more jobs, which ends it when it is empty; cancel what it still holds.

        Its list of jobs is not asked: a job that was made a moment ago may be missing there.
        """
        try:
            self._change("PATCH", _path(session), {"accepting_jobs": False})
            if self._document(session).get("state") != "closed":
                self._change("DELETE", _path(session, "/close"))
        except VendorError as error:
            if error.http_status != 404:
                raise

    def _document(self, session: str) -> dict[str, Any]:
        return expect_object(self._api.get_json(_path(session)), resource=self._resource, what=f"session {session}")

    def _document_if_known(self, session: str) -> dict[str, Any] | None:
        try:
            return self._document(session)
        except VendorError as error:
            if error.http_status == 404:
                return None
            raise

    def _change(self, method: str, path: str, body: object = None) -> None:
        """Change a session; one that has ended meanwhile is left as it is."""
        try:
            self._api.change(method, path, body=body)
        except VendorError as error:
            if error.http_status not in GONE:
                raise

    def _open(self) -> str:
        def send() -> str:
            try:
                answer = self._api.submit("/sessions", body=self._request)
            except Undecided:
                _log.warning(
                    "%s: the answer to the creation of a session was lost; if it is there, it ends by itself in %d s",
                    self._resource,
                    self._request["max_ttl"],
                )
                raise
            except VendorError as error:
                if error.http_status not in REFUSED:
                    raise
                raise type(error)(
                    f"{error}. {self._advice}",
                    resource=self._resource,
                    http_status=error.http_status,
                    code=error.code,
                    reason=error.reason,
                    solution=error.solution,
                ) from error
            return str(expect(answer.json(), "id", resource=self._resource, what="a new session"))

        session = submit_once(
            send, lambda: None, resource=self._resource, deadline=self._api.settings.deadline, lag=PAUSE
        )
        self._opened[session] = None
        return session


def _path(session: str, part: str = "") -> str:
    return f"/sessions/{quote(session, safe='')}{part}"
