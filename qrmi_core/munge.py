# SPDX-License-Identifier: Apache-2.0
"""Munge: credentials that say which user of which group made them, good once and for a few minutes.

A small binding to libmunge, see munge(3) and munge_ctx(3). The library is loaded when it is first needed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import socket as sockets
from dataclasses import dataclass, field

from qrmi_core.errors import QRMIError

__all__ = [
    "Credential",
    "CredentialExpired",
    "CredentialRejected",
    "CredentialReplayed",
    "MungeUnavailable",
    "decode",
    "encode",
]

LIBRARIES = ("libmunge.so.2", "libmunge.so")

_OPTION_TTL, _OPTION_ADDRESS, _OPTION_SOCKET = 4, 5, 8
_SUCCESS, _SNAFU, _NO_MEMORY, _SOCKET, _TIMEOUT = 0, 1, 5, 6, 7
_ADDRESS_BYTES = 4
_EXPIRED, _REWOUND, _REPLAYED = 15, 16, 17


class MungeUnavailable(QRMIError):
    """No credential can be made or read here: libmunge is not installed, or no munged answers."""


class CredentialRejected(QRMIError):
    """What was presented is no credential of this realm, or not for this user."""


class CredentialExpired(CredentialRejected):
    """The credential is too old, or the clocks of two hosts differ."""


class CredentialReplayed(CredentialRejected):
    """The credential was presented before; each is good once."""


@dataclass(frozen=True)
class Credential:
    """Who made a credential on which host, and what it carries.

    ``address`` is the IPv4 address that the munged of that host takes for its own (its option ``--origin``).
    """

    uid: int
    gid: int
    payload: bytes = field(repr=False)
    address: str


def encode(payload: bytes = b"", *, socket: str | None = None, ttl: int | None = None) -> str:
    """A new credential of the user who runs this process.

    Args:
        payload: what it carries, readable by whoever may decode it.
        ttl: for how many seconds it is good; by default as long as munged likes, five minutes mostly.
        socket: the socket of munged; by default the one that libmunge was built with.

    Raises:
        MungeUnavailable: libmunge is missing, or munged does not answer.
    """
    library = _library()
    context = _Context(library, socket, ttl)
    credential = ctypes.c_void_p()
    try:
        code = library.munge_encode(ctypes.byref(credential), context.pointer, payload, len(payload))
        if code != _SUCCESS:
            raise context.error(code)
        return ctypes.string_at(credential.value or 0).decode("ascii")
    finally:
        _free(credential)
        context.close()


def decode(credential: str, *, socket: str | None = None) -> Credential:
    """What a credential says; it is used up by this.

    Raises:
        CredentialExpired, CredentialReplayed, CredentialRejected: it is not to be believed, and why.
        MungeUnavailable: libmunge is missing, or munged does not answer.
    """
    if not credential.isascii() or "\0" in credential:
        raise CredentialRejected("the credential is not ASCII text")
    library = _library()
    context = _Context(library, socket)
    payload, length = ctypes.c_void_p(), ctypes.c_int()
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    told = (ctypes.byref(each) for each in (payload, length, uid, gid))
    try:
        code = library.munge_decode(credential.encode(), context.pointer, *told)
        if code != _SUCCESS:
            raise context.error(code)
        carried = ctypes.string_at(payload.value, length.value) if payload.value else b""
        return Credential(uid.value, gid.value, carried, context.address())
    finally:
        _free(payload)
        context.close()


class _Context:
    """The options of one call, and the words for what went wrong in it."""

    def __init__(self, library: ctypes.CDLL, socket: str | None, ttl: int | None = None) -> None:
        self._library = library
        self._socket = socket
        self.pointer = ctypes.c_void_p(library.munge_ctx_create())
        if not self.pointer:
            raise MemoryError
        if socket is not None:
            library.munge_ctx_set(self.pointer, ctypes.c_int(_OPTION_SOCKET), ctypes.c_char_p(os.fsencode(socket)))
        if ttl is not None:
            library.munge_ctx_set(self.pointer, ctypes.c_int(_OPTION_TTL), ctypes.c_int(ttl))

    def error(self, code: int) -> QRMIError:
        said = (self._library.munge_ctx_strerror(self.pointer) or self._library.munge_strerror(code)).decode()
        if code in {_SNAFU, _NO_MEMORY, _SOCKET, _TIMEOUT}:
            where = self._socket or "its usual socket"
            return MungeUnavailable(
                f"munged does not answer at {where} ({said}): it must run on this host, with the key of the site",
                transient=True,
            )
        if code in {_EXPIRED, _REWOUND}:
            return CredentialExpired(f"the munge credential is out of its time ({said}): compare the hosts' clocks")
        if code == _REPLAYED:
            return CredentialReplayed(f"the munge credential was used before ({said}): each is good once")
        return CredentialRejected(f"the munge credential is not to be believed ({said})")

    def address(self) -> str:
        """The origin of what was decoded, in dotted form."""
        packed = ctypes.create_string_buffer(_ADDRESS_BYTES)
        code = self._library.munge_ctx_get(self.pointer, ctypes.c_int(_OPTION_ADDRESS), packed)
        if code != _SUCCESS:
            raise self.error(code)
        return sockets.inet_ntoa(packed.raw)

    def close(self) -> None:
        self._library.munge_ctx_destroy(self.pointer)


@functools.cache
def _library() -> ctypes.CDLL:
    problem = None
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            problem = problem or error
        else:
            library.munge_encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
            library.munge_decode.argtypes = [ctypes.c_char_p, *[ctypes.c_void_p] * 5]
            library.munge_strerror.restype = ctypes.c_char_p
            library.munge_ctx_create.restype = ctypes.c_void_p
            library.munge_ctx_destroy.argtypes = [ctypes.c_void_p]
            library.munge_ctx_strerror.argtypes = [ctypes.c_void_p]
            library.munge_ctx_strerror.restype = ctypes.c_char_p
            return library
    raise MungeUnavailable(f"libmunge cannot be loaded ({problem}): install munge on this host")


def _free(pointer: ctypes.c_void_p) -> None:
    if pointer.value:
        release = ctypes.CDLL(None).free
        release.argtypes = [ctypes.c_void_p]
        release(pointer)
