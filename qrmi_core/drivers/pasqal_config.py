# SPDX-License-Identifier: Apache-2.0
"""Who a resource of Pasqal's cloud logs in as: its variables first, then the file ``~/.pasqal/config``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qrmi_core.environment import own_values
from qrmi_core.errors import ResourceUnavailable
from qrmi_core.variables import Variable

__all__ = ["ACCOUNT_VARIABLES", "AUTH_ENDPOINT", "AUTH_TOKEN", "CONFIG_ROOT", "PROJECT", "Account", "account"]

_log = logging.getLogger(__name__)

PREFIX = "QRMI_PASQAL_CLOUD_"
PROJECT = f"{PREFIX}PROJECT_ID"
AUTH_ENDPOINT = f"{PREFIX}AUTH_ENDPOINT"
AUTH_TOKEN = f"{PREFIX}AUTH_TOKEN"
CONFIG_ROOT = "PASQAL_CONFIG_ROOT"

ACCOUNT_VARIABLES = (
    Variable(PROJECT, "the project that pays for the batches", account=True),
    Variable(AUTH_TOKEN, "a bearer token that was made elsewhere; counts before the two ways below", secret=True),
    Variable(
        f"{PREFIX}USERNAME",
        "a user's name (or PASQAL_USERNAME of the process); counts before a service account",
        account=True,
    ),
    Variable(f"{PREFIX}PASSWORD", "that user's password (or PASQAL_PASSWORD of the process)", secret=True),
    Variable(f"{PREFIX}CLIENT_ID", "the id of a service account", account=True),
    Variable(f"{PREFIX}CLIENT_SECRET", "the secret of that service account", secret=True),
    Variable(AUTH_ENDPOINT, "the URL that gives tokens, where it is not the region's own", endpoint=True),
    Variable(CONFIG_ROOT, "the directory of .pasqal/config, where it is not the home directory"),
)

_OWN = {"username": "PASQAL_USERNAME", "password": "PASQAL_PASSWORD"}
_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)(\}?)|([A-Za-z0-9_]+))")
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Account:
    """What is known of an account; any part may be missing."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    project_id: str | None = None
    auth_endpoint: str | None = None

    @property
    def secrets(self) -> list[str]:
        """What must stand in no text."""
        return [secret for secret in (self.password, self.client_secret, self.auth_token) if secret]


def account(name: str, values: Mapping[str, str]) -> Account:
    """The account of the resource ``name``, each part of it from its variables or else from the file.

    Raises:
        ResourceUnavailable: the directory of the file is written wrongly; says in which variable.
    """
    known: dict[str, str] = {}
    file = _file(name, values)
    for part in Account.__dataclass_fields__:
        # The file calls the token simply so.
        in_file = file.get("token" if part == "auth_token" else part)
        own = own_values([_OWN[part]]).get(_OWN[part]) if part in _OWN else None
        if found := _filled(values.get(PREFIX + part.upper())) or _filled(own) or _filled(in_file):
            known[part] = found
    return Account(**known)


def _filled(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _file(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """What the first readable configuration file says; nothing where there is none."""
    roots = dict(_roots(name, values))
    for root in roots.values():
        try:
            return _parsed((root / ".pasqal" / "config").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    if first := next((variable for variable in roots if variable != "HOME"), None):
        _log.warning("%s: there is no readable .pasqal/config in %s, which %s names", name, roots[first], first)
    return {}


def _roots(name: str, values: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    of_resource = f"{name}_{CONFIG_ROOT}"
    own = own_values([CONFIG_ROOT, of_resource])
    for variable, text in (
        (CONFIG_ROOT, own.get(CONFIG_ROOT)),
        (of_resource, own.get(of_resource) or values.get(CONFIG_ROOT)),
    ):
        if written := _filled(text):
            yield variable, Path(_expanded(written, variable, name))
            break
    yield "HOME", _home()


def _home() -> Path:
    home = own_values(["HOME"]).get("HOME")
    return Path(home) if home else Path.home()


def _expanded(text: str, variable: str, resource: str) -> str:
    """A path with its home directory and variables put in, as a shell would; an unset variable is empty."""

    def put_in(found: re.Match[str]) -> str:
        dollar, braced, closed, plain = found.groups()
        if dollar:
            return "$"
        wanted = plain or braced
        if plain is None and (not closed or not _NAME.fullmatch(braced)):
            raise ResourceUnavailable(
                f"{variable} of {resource} is {text!r}: write a variable as $NAME or ${{NAME}}, a dollar sign as $$",
                resource=resource,
            )
        return own_values([wanted]).get(wanted, "")

    path = _REFERENCE.sub(put_in, text)
    return f"{_home()}{path[1:]}" if path == "~" or path.startswith("~/") else path


def _parsed(text: str) -> dict[str, str]:
    """The lines ``key = value``; comments stand on lines of their own, headers of sections mean nothing."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or line.lstrip().startswith(("#", ";")):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[key.strip().lower()] = value
    return found
