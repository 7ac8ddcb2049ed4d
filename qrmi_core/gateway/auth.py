# SPDX-License-Identifier: Apache-2.0
"""Who asks the gateway: a munge credential that is good for one request, and what its maker may do.

The payload is ``qrmi1 METHOD PATH?QUERY SHA256HEX(body) NONCE``, so that a credential which somebody reads on its way
is of no use for anything else; munge tells the user, and the host by its address.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import pwd
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from qrmi_core import munge
from qrmi_core.errors import QRMIError

__all__ = ["Authenticator", "Caller", "Forbidden", "Hosts", "Unauthorized", "user_name"]

_log = logging.getLogger(__name__)

SCHEME = "MUNGE"
REMEMBERED = 600.0
MOST_REMEMBERED = 500_000
OLDEST_ADDRESSES = 60.0
SHORTEST_GAP = 3.0
_NONCE = re.compile(r"[0-9a-f]{32}")


class Unauthorized(QRMIError):
    """There is no credential with a request, or one that is not good for it."""


class Forbidden(QRMIError):
    """Whoever asks may not; the text gives nothing away."""

    def __init__(self) -> None:
        super().__init__("this user and host may not do that")


@dataclass(frozen=True)
class Caller:
    """A user, and the address of the host that the request was made on."""

    uid: int
    address: str


class Authenticator:
    """Checks credentials; safe to use from several threads."""

    def __init__(self, munge_socket: str | None = None) -> None:
        self._socket = munge_socket
        self._nonces: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, method: str, target: str, body: bytes, headers: Sequence[str]) -> Caller:
        """Who sent a request with these ``Authorization`` headers.

        Raises:
            Unauthorized: nobody who can be believed.
            MungeUnavailable: it cannot be told now.
        """
        if len(headers) != 1:
            raise Unauthorized(
                "one Authorization header was expected" if headers else "a munge credential was expected"
            )
        scheme, _, text = headers[0].partition(" ")
        if scheme.upper() != SCHEME or not text:
            raise Unauthorized("Authorization: MUNGE <credential> was expected")
        try:
            credential = munge.decode(text.strip(), socket=self._socket)
        except munge.CredentialRejected as error:
            raise Unauthorized(str(error)) from error
        self._check_payload(credential.payload, method, target, body)
        return Caller(credential.uid, credential.address)

    def _check_payload(self, payload: bytes, method: str, target: str, body: bytes) -> None:
        parts = payload.decode("ascii", errors="replace").split(" ")
        if len(parts) != 5 or parts[0] != "qrmi1" or not _NONCE.fullmatch(parts[4]):
            raise Unauthorized("the munge credential was not made for this gateway")
        if parts[1] != method or parts[2] != target:
            raise Unauthorized("the munge credential was made for another request")
        if not hmac.compare_digest(parts[3], hashlib.sha256(body).hexdigest()):
            raise Unauthorized("the munge credential was made for a request with another body")
        self._use(parts[4])

    def _use(self, nonce: str) -> None:
        """Note that a nonce was used; munged notes its credentials too, and forgets them when it is started again."""
        now = time.monotonic()
        with self._lock:
            if now - self._nonces.get(nonce, -REMEMBERED) < REMEMBERED:
                raise Unauthorized("the munge credential was used before")
            while self._nonces and (
                now - self._nonces[first := next(iter(self._nonces))] >= REMEMBERED
                or len(self._nonces) >= MOST_REMEMBERED
            ):
                del self._nonces[first]
            self._nonces[nonce] = now


class Hosts:
    """Which address is whose: of a node, of the host with slurmctld, of this host. Safe to use from several threads."""

    def __init__(
        self,
        ask: Callable[[], Mapping[str, str]],
        *,
        further: Mapping[str, Collection[str]],
        own: Collection[str],
        operators: Collection[str],
    ) -> None:
        """Ask slurmctld for the addresses of nodes.

        Args:
            ask: the NodeAddr of each node.
            further: other addresses that a site gives nodes.
            own: the addresses of this host.
            operators: names of users who may do what root on this host may.
        """
        self._ask = ask
        self._further = further
        self._own = frozenset(own)
        self._operators = frozenset(operators)
        self._nodes: Mapping[str, str] = {}
        self._asked = float("-inf")
        self._resolved: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def is_root_of(self, caller: Caller, node: str) -> bool:
        """True for root on that node.

        Raises:
            QRMIError: slurmctld does not tell the addresses of its nodes.
        """
        if caller.uid != 0:
            return False
        return caller.address in self._further.get(node, ()) or caller.address in self._addresses(node, caller.address)

    def is_one_of(self, address: str, nodes: Collection[str]) -> bool:
        """True for the address of one of these nodes.

        Raises:
            QRMIError: slurmctld does not tell the addresses of its nodes.
        """
        if any(address in self._further.get(node, ()) for node in nodes):
            return True
        return any(address in self._addresses(node, address) for node in nodes)

    def is_operator(self, caller: Caller) -> bool:
        """True for root on this host, and for the site's operators on any."""
        if caller.uid == 0:
            return caller.address in self._own
        return user_name(caller.uid) in self._operators

    def is_own(self, caller: Caller) -> bool:
        """True for whoever is on this host."""
        return caller.address in self._own

    def is_at(self, caller: Caller, host: str) -> bool:
        """True for whoever is on the host of that name or address."""
        return caller.address in self._resolve(host)

    def _addresses(self, node: str, hoped: str) -> frozenset[str]:
        now = time.monotonic()
        with self._lock:
            nodes, age = self._nodes, now - self._asked
        if age > OLDEST_ADDRESSES or (
            age > SHORTEST_GAP and (node not in nodes or hoped not in self._resolve(nodes[node]))
        ):
            nodes = self._ask()
            with self._lock:
                self._nodes, self._asked = nodes, now
        return self._resolve(nodes[node]) if node in nodes else frozenset()

    def _resolve(self, host: str) -> frozenset[str]:
        """IPv4 addresses of a name; munge knows no others."""
        now = time.monotonic()
        with self._lock:
            moment, found = self._resolved.get(host, (float("-inf"), frozenset()))
        if now - moment < OLDEST_ADDRESSES:
            return found
        try:
            found = frozenset(str(each[4][0]) for each in socket.getaddrinfo(host, None, socket.AF_INET))
        except (OSError, UnicodeError) as error:
            _log.warning("the address of %s is not known: %s", host, error)
            found = frozenset()
        with self._lock:
            self._resolved[host] = (now, found)
        return found


def user_name(uid: int) -> str:
    """The name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
