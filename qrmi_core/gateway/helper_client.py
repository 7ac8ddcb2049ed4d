# SPDX-License-Identifier: Apache-2.0
"""The gateway's side of the root helper: four calls, and how a driver that needs munge comes to its credentials."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from qrmi_core.errors import QRMIError
from qrmi_core.resource import QuantumResource

__all__ = ["HelperClient", "HelperRefused", "HelperUnreachable", "TakesCredentials", "lend_credentials"]

SECONDS = 70.0
"""Longer than the helper lets any call take."""


class HelperUnreachable(QRMIError):
    """The helper does not run, or did not answer."""


class HelperRefused(QRMIError):
    """The helper answered that it does not, or could not; the text is its reason."""


@runtime_checkable
class TakesCredentials(Protocol):
    """A resource whose vendor knows users by munge."""

    def credentials_from(self, *, root: Callable[[], str], user: Callable[[], str] | None) -> None:
        """Take credentials from these calls and not from munged itself; None: those of this process."""


class HelperClient:
    """The helper at ``path``; each call is a connection of its own, so threads may share this."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)

    def munge_root(self) -> str:
        """A munge credential of root without a payload, good once and for a minute."""
        return self._call("munge_root", payload="")

    def munge_user(self, uid: int) -> str:
        """The same of a user who holds a live lease of a resource that knows users by munge."""
        return self._call("munge_user", uid=uid, payload="")

    def make_reservation(self, resource: str, reason: str, lanes: int | None = None) -> None:
        """Keep jobs waiting that ask for a resource, or of a pool for so many of its ``lanes``; those that run go on.

        Twice is no error; another number of lanes is a change.
        """
        self._call("reservation", action="make", resource=resource, reason=_one_line(reason), lanes=lanes)

    def lift_reservation(self, resource: str, reason: str) -> None:
        """Let jobs start again; twice is no error."""
        self._call("reservation", action="lift", resource=resource, reason=_one_line(reason), lanes=None)

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        """Write ``key=value`` pairs in lower case into the accounting record of a job that had a lease.

        Raises:
            HelperRefused: transient where the accounting has no record of the job yet, or is away.
        """
        self._call("system_comment", cluster=cluster, job_id=job_id, submitted=submitted, text=text)

    def _call(self, verb: str, **arguments: Any) -> str:
        line = json.dumps({"verb": verb, **arguments}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(SECONDS)
                connection.connect(self._path)
                connection.sendall(line)
                with connection.makefile("rb") as answers:
                    told = json.loads(answers.readline())
            if "error" not in told:
                return str(told["answer"])
            refused = HelperRefused(
                f"the root helper refused {verb}: {told['error']['reason']}", transient=told["error"]["transient"]
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or "its answer was cut off"
            raise HelperUnreachable(
                f"the root helper does not answer at {self._path} ({reason}): does `qrmi gateway helper` run?",
                transient=True,
            ) from error
        raise refused


def lend_credentials(resource: QuantumResource, helper: HelperClient) -> None:
    """Let a resource that knows users by munge speak as root where it must, and as its job's user otherwise."""
    if not isinstance(resource, TakesCredentials):
        return
    uid = resource.context.uid
    user = {None: None, 0: helper.munge_root}.get(uid, functools.partial(helper.munge_user, uid or 0))
    resource.credentials_from(root=helper.munge_root, user=user)


def _one_line(text: str) -> str:
    """What a vendor or an operator says, as the helper takes it."""
    return "".join(each if each.isprintable() else " " for each in text)[:500]
