# SPDX-License-Identifier: Apache-2.0
"""How to reach a vendor's server: the variables that every HTTP driver takes, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qrmi_core.environment import trusted_certificates
from qrmi_core.errors import ResourceUnavailable
from qrmi_core.variables import Variable

__all__ = ["HTTP_VARIABLES", "HttpSettings", "http_settings", "number"]

CONNECT_TIMEOUT = "QRMI_HTTP_CONNECT_TIMEOUT"
READ_TIMEOUT = "QRMI_HTTP_READ_TIMEOUT"
DEADLINE = "QRMI_HTTP_DEADLINE"
CA = "QRMI_HTTP_CA_FILE"
CERTIFICATE = "QRMI_HTTP_CERTIFICATE_FILE"
KEY = "QRMI_HTTP_KEY_FILE"
PROXY = "QRMI_HTTP_PROXY"

HTTP_VARIABLES = (
    Variable(CONNECT_TIMEOUT, "seconds until a connection must stand (10)"),
    Variable(READ_TIMEOUT, "seconds that a server may be silent (60)"),
    Variable(DEADLINE, "seconds for which a request is tried again (120)"),
    Variable(
        CA,
        "a file with the certificates to trust; by default that of REQUESTS_CA_BUNDLE, else those of the host",
    ),
    Variable(CERTIFICATE, "a file with the client's certificate, where the server asks for one"),
    Variable(KEY, "a file with the key of that certificate, where it is not in the same file"),
    Variable(
        PROXY, "the proxy's URL; by default that of the environment (https_proxy, no_proxy)", secret=True, endpoint=True
    ),
)

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class HttpSettings:
    """How to reach one resource: times in seconds; ``ca``, ``certificate`` and ``key`` are files.

    With ``socket``, the path of a unix socket, connections go there whatever host the URLs name.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    deadline: float = 120.0
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    proxy: str | None = None
    socket: str | None = None


def http_settings(name: str, values: Mapping[str, str]) -> HttpSettings:
    """The settings of the resource ``name``.

    Raises:
        ResourceUnavailable: a value is no positive number, or a file is not there; says which variable.
    """
    for variable in (CA, CERTIFICATE, KEY):
        if (file := values.get(variable)) and not Path(file).is_file():
            raise ResourceUnavailable(f"{variable} of {name}: there is no file {file}", resource=name)
    return HttpSettings(
        connect_timeout=number(name, values, CONNECT_TIMEOUT, HttpSettings.connect_timeout),
        read_timeout=number(name, values, READ_TIMEOUT, HttpSettings.read_timeout),
        deadline=number(name, values, DEADLINE, HttpSettings.deadline),
        ca=values.get(CA) or trusted_certificates(),
        certificate=values.get(CERTIFICATE) or None,
        key=values.get(KEY) or None,
        proxy=values.get(PROXY) or None,
    )


def number(
    name: str, values: Mapping[str, str], variable: str, default: Number, *, at_least: Number | None = None
) -> Number:
    """A number among the variables of the resource ``name``: positive, or no less than ``at_least``.

    Raises:
        ResourceUnavailable: it is something else; says which variable.
    """
    text = values.get(variable)
    if not text:
        return default
    try:
        value = type(default)(text)
    except ValueError:
        value = None
    if value is None or not (value > 0 if at_least is None else at_least <= value) or value == float("inf"):
        wanted = "a positive number" if at_least is None else f"a number of at least {at_least:g}"
        raise ResourceUnavailable(f"{variable} of {name} is {text!r}: {wanted} was expected", resource=name)
    return value
