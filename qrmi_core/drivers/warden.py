# SPDX-License-Identifier: Apache-2.0
"""Warden's REST API: a munge credential with every request, a session for every submission, and what errors say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

from qrmi_core import munge, polling
from qrmi_core.drivers.vendor import about_task, expect
from qrmi_core.errors import (
    QRMIError,
    ResourceUnavailable,
    ResultError,
    SubmissionUncertain,
    UnsupportedFunction,
    VendorError,
)
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.submission import Undecided, submit_once

__all__ = ["MUNGE_SOCKET", "TOO_LATE", "WardenClient"]

MUNGE_SOCKET = "QRMI_WARDEN_MUNGE_SOCKET"
MUNGE_TRIES = 4
MUNGE_PAUSE = 0.5
TOO_LATE = frozenset({400, 403, 409})

_NO_SUCH_ROUTE = frozenset({404, 405})
_UNCERTAIN = (
    "Warden lists your jobs (task_ids() of this resource) and does not tell what each of them runs; submit it again "
    "only if no job is listed that you cannot account for"
)


class WardenClient:
    """One Warden, as the user who runs this process; ``socket`` is munged's where it is not the usual one.

    ``credential`` and ``root_credential`` make the munge credentials, the latter those for sessions; whoever acts for
    another user gives others before anything is sent.
    """

    def __init__(self, address: str, settings: HttpSettings, *, resource: str, socket: str | None) -> None:
        self._resource = resource
        self._socket = socket
        self.credential: Callable[[], str] = self._own_credential
        self.root_credential: Callable[[], str] = self._own_credential
        self._deadline = settings.deadline
        self._anonymous = HttpClient(
            address, settings, resource=resource, address=f"QRMI_WARDEN_URL of {resource}", told=_told
        )
        self._http = self._client(address, settings, lambda: self.credential())
        self._root_http = self._client(address, settings, lambda: self.root_credential())

    def _client(self, address: str, settings: HttpSettings, credential: Callable[[], str]) -> HttpClient:
        return HttpClient(
            address,
            settings,
            resource=self._resource,
            told=_told,
            fresh_headers=lambda: {"X-Munge-Cred": credential()},
            address=f"QRMI_WARDEN_URL of {self._resource}",
            credentials=f"munge on this host, and that this job's session (QRMI_JOB_ACQUISITION_TOKEN) is its own and "
            f"not given back; only root opens and closes sessions of {self._resource}",
        )

    def accessible(self) -> tuple[bool, str]:
        """Whether the QPU is accessible, and Warden's message about it; needs no munge."""
        told = self._anonymous.get_json("/accessible")
        return self._of(told, "is_accessible", "/accessible") is True, str(told.get("message") or "")

    def inaccessible(self) -> str | None:
        """Why the QPU is not accessible, as far as Warden tells; None where it is, or where Warden does not answer."""
        with contextlib.suppress(QRMIError):
            accessible, message = self.accessible()
            if not accessible:
                return f"Warden says that the QPU is not accessible: {message or 'it gives no reason'}"
        return None

    def specs(self) -> bytes:
        """The device as Pulser writes it."""
        with self._saying_if_inaccessible():
            told = self._http.get_json("/qpu/specs")
        return str(self._of(told, "specs", "/qpu/specs")).encode()

    def open_session(self, uid: int, job_id: str) -> str:
        """Open a session for a user's Slurm job; root only."""
        body = {"user_id": str(uid), "slurm_job_id": job_id}
        with self._saying_if_inaccessible():
            # A session whose answer was lost keeps nobody out, so asking for another does no harm.
            told = self._root_http.change("POST", "/sessions", body=body, json_only=True).json()
        return str(self._of(told, "id", "a new session"))

    def close_session(self, session: str) -> None:
        """Revoke a session; one that is not there is no error."""
        try:
            self._root_http.change("DELETE", f"/sessions/{quote(session, safe='')}")
        except VendorError as error:
            if error.http_status != 404:
                raise

    def submit(self, sequence: bytes, shots: int, session: str) -> int:
        """Submit a job once.

        Raises:
            SubmissionUncertain: nobody knows whether it was taken; Warden has nothing to look it up by.
        """
        body = {"sequence": sequence.decode(), "shots": shots}

        def send() -> int:
            told = self._http.submit("/jobs", body=body, headers={"X-Warden-Session": session}).json()
            try:
                return self._id_of(told, "a new job")
            except ResultError as error:
                raise Undecided(error) from error

        with self._saying_if_inaccessible():
            return submit_once(send, None, resource=self._resource, deadline=self._deadline, advice=_UNCERTAIN)

    def job(self, job: int) -> Mapping[str, Any]:
        """What Warden tells of a job; it has a ``status``."""
        with about_task(self._resource, str(job)):
            told = self._http.get_json(f"/jobs/{job}")
        self._of(told, "status", f"job {job}")
        return cast("Mapping[str, Any]", told)

    def jobs(self) -> list[int]:
        """The user's jobs."""
        told = self._http.get_json("/jobs")
        if not isinstance(told, list):
            raise ResultError(f"{self._resource}: /jobs answered with a {type(told).__name__} and not with a list")
        return [self._id_of(each, "a job of /jobs") for each in told]

    def cancel(self, job: int) -> None:
        """Ask for a job to be cancelled.

        Raises:
            UnsupportedFunction: this Warden cannot, or it has no such job.
        """
        with self._optional(f"this Warden cannot cancel job {job}, which runs when its turn comes"):
            self._http.change("POST", f"/jobs/{job}/cancel")

    def logs(self, job: int) -> str:
        """A job's log.

        Raises:
            UnsupportedFunction: this Warden keeps none, or it has no such job.
        """
        with self._optional("this Warden keeps no logs of jobs"):
            told = self._http.get_json(f"/jobs/{job}/logs")
        return str(self._of(told, "logs", f"the log of job {job}"))

    @contextlib.contextmanager
    def _optional(self, without: str) -> Iterator[None]:
        """A route that some servers lack; their 404 does not tell that from a job that is not there."""
        try:
            yield
        except VendorError as error:
            if error.http_status in _NO_SUCH_ROUTE:
                raise UnsupportedFunction(f"{self._resource}: {without}", resource=self._resource) from error
            raise

    @contextlib.contextmanager
    def _saying_if_inaccessible(self) -> Iterator[None]:
        """Add to an error what Warden says of a QPU that is not accessible; which refuses nothing for it."""
        try:
            yield
        except (SubmissionUncertain, VendorError) as error:
            if said := self.inaccessible():
                error.args = (f"{error}. {said}",)
            raise

    def _own_credential(self) -> str:
        for left in reversed(range(MUNGE_TRIES)):
            try:
                return munge.encode(socket=self._socket)
            except munge.MungeUnavailable as error:
                if left and error.transient:  # perhaps it is being restarted
                    polling.pause(MUNGE_PAUSE)
                    continue
                raise ResourceUnavailable(
                    f"{self._resource}: Warden knows its users by munge, and {error}; {MUNGE_SOCKET} of "
                    f"{self._resource} sets the socket",
                    resource=self._resource,
                    transient=error.transient,
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _id_of(self, told: Any, what: str) -> int:
        found = self._of(told, "id", what)
        if not isinstance(found, int):
            raise ResultError(f"{self._resource}: {what} has the id {found!r}, a number was expected")
        return found

    def _of(self, told: Any, key: str, what: str) -> Any:
        return expect(told, key, resource=self._resource, what=what)


def _told(response: Response) -> Told:
    detail = response.json()["detail"]
    return Told(detail if isinstance(detail, str) else "; ".join(str(each["msg"]) for each in detail))
