# SPDX-License-Identifier: Apache-2.0
"""Job tokens: what a job has in place of a credential. Each stands for one lease, for as long as that is granted.

The journal keeps SHA-256 digests only. A JSON web token, which clients of IBM's cloud want in exchange for their key,
says which lease it is for and is signed with a key that the journal keeps, so it outlives a restart.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
import time

from qrmi_core.leases.sqlite_journal import SqliteJournal

__all__ = ["JobTokens"]

BYTES = 32
SIGNING_KEY = "token signing key"
LONGEST = 4096
"""Characters of a token that is looked at."""

PROOF = 16
"""Characters of a tag's proof: 96 bits."""

_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()


class JobTokens:
    """The tokens of live leases, in memory and by their digests in the journal."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self._leases: dict[bytes, str] = {}
        self._of_lease: dict[str, set[bytes]] = {}
        self._signing = b""

    def load(self) -> None:
        """Take up the tokens of the process before this one; it blocks.

        Raises:
            JournalUnavailable: the journal cannot be read or written.
        """

        def signing_key(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (SIGNING_KEY, secrets.token_bytes(BYTES)))
            connection.execute("DELETE FROM tokens WHERE lease IN (SELECT id FROM leases WHERE NOT may_hold)")
            (key,) = connection.execute("SELECT value FROM secrets WHERE name = ?", (SIGNING_KEY,)).fetchone()
            return bytes(key)

        self._signing = self._journal.change(signing_key).result()
        for digest, lease in self._journal.rows("SELECT digest, lease FROM tokens"):
            self._keep(bytes(digest), lease)

    def _keep(self, digest: bytes, lease: str) -> None:
        self._leases[digest] = lease
        self._of_lease.setdefault(lease, set()).add(digest)

    async def mint(self, lease: str) -> str:
        """Another token for a lease: each of its nodes has one of its own.

        Raises:
            JournalUnavailable: it cannot be written down, so there is none.
        """
        token = secrets.token_urlsafe(BYTES)
        digest = _digest(token)
        writing = self._journal.change(
            lambda connection: connection.execute("INSERT INTO tokens VALUES (?, ?)", (digest, lease)).rowcount
        )
        await asyncio.wrap_future(writing)
        self._keep(digest, lease)
        return token

    def has(self, lease: str) -> bool:
        """Whether a token was made for a lease: its job comes in by a door."""
        return lease in self._of_lease

    def lease_of(self, token: str) -> str | None:
        """The lease that a token, or a web token made for one, stands for; that it is granted is not checked here."""
        if len(token) > LONGEST:
            return None
        return self._leases.get(_digest(token)) or self._of_web_token(token)

    def web_token(self, lease: str, *, seconds: float) -> str:
        """A JSON web token (RFC 7519, HS256) for a lease, with ``iat`` and ``exp`` in epoch seconds."""
        now = time.time()
        claims = {"sub": lease, "iat": int(now), "exp": now + seconds, "jti": secrets.token_hex(8)}
        signed = f"{_HEADER}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def _of_web_token(self, token: str) -> str | None:
        signed, _, signature = token.rpartition(".")
        if not signed or not token.isascii() or not hmac.compare_digest(signature, self._signature(signed)):
            return None
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        return str(claims["sub"]) if claims["exp"] > time.time() else None

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.digest(self._signing, signed.encode(), "sha256"))

    def tag(self, lease: str) -> str:
        """A tag for one task at a vendor, which proves to this gateway for whose lease it was made."""
        number = secrets.token_hex(8)
        return f"qrmi-{number}-{self._signature(f'{lease} {number}')[:PROOF]}"

    def is_tag_of(self, lease: str, tag: str) -> bool:
        """Whether a tag was made for a lease."""
        _, _, rest = tag.partition("qrmi-")
        number, _, proof = rest.partition("-")
        expected = self._signature(f"{lease} {number}")[:PROOF]
        return hmac.compare_digest(proof.encode("utf-8", "surrogatepass"), expected.encode())

    def leases(self) -> list[str]:
        """The leases that have tokens."""
        return list(self._of_lease)

    def revoke(self, lease: str) -> None:
        """Forget the tokens of a lease, at once here and soon in the journal."""
        digests = self._of_lease.pop(lease, set())
        for digest in digests:
            self._leases.pop(digest, None)
        if digests:
            self._journal.change(
                lambda connection: connection.execute("DELETE FROM tokens WHERE lease = ?", (lease,)).rowcount
            )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
