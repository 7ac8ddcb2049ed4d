# SPDX-License-Identifier: Apache-2.0
"""gateway.json: what the gateway needs to know beside the resources.

{"qrmi_config": "/etc/qrmi/qrmi_config.json", "state_dir": "/var/lib/qrmi-gateway",
 "listen": {"admin": "/run/qrmi-gateway/admin.sock", "admin_tcp": "0.0.0.0:7811"}, "operators": ["alice"]}
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from qrmi_core.environment import GATEWAY_CONFIG, SITE_GATEWAY_CONFIG, gateway_file
from qrmi_core.errors import ConfigurationError
from qrmi_core.gateway_address import checked_address, socket_of
from qrmi_core.strict_files import Strict, Text, between, load_strict

__all__ = ["GatewaySettings", "Listen", "Tls", "is_loopback", "load_gateway_settings", "split_address"]

LONGEST_SOCKET = 100
"""Bytes of a unix socket's path: Linux takes 107, a temporary name beside it must fit too."""


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("an absolute path was expected")
    return text


def _socket(text: str) -> str:
    if len(_absolute(text).encode()) > LONGEST_SOCKET:
        raise ValueError(f"the path of a socket has at most {LONGEST_SOCKET} bytes")
    return text


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[address]:port`` as a pair.

    Raises:
        ValueError: it is neither.
    """
    host, sign, port = text.rpartition(":")
    if not sign or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('"host:port" was expected, as in "127.0.0.1:7811"')
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """True for an address that only this host reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _endpoint(text: str) -> str:
    split_address(text)
    return text


def _public(text: str) -> str:
    try:
        if socket_of(text) is None:
            return checked_address(text)
    except ValueError:
        pass
    raise ValueError('http://host:port or https://host:port was expected, as in "https://head.example:7812"')


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("an IPv4 address was expected: munge knows no others") from None


_File = Annotated[str, _absolute]
_Endpoint = Annotated[str, _endpoint]
_Seconds = Annotated[float, between(0, 3600)]


class Listen(Strict):
    """Where the gateway listens; ``jobs`` and ``metrics`` are for what jobs reach and for the site's monitoring."""

    admin: Annotated[str, _socket] | None = None
    admin_tcp: _Endpoint | None = None
    jobs: _Endpoint | None = None
    metrics: _Endpoint | None = None


class Tls(Strict):
    """The files of the gateway's certificate and key, in PEM."""

    cert: _File
    key: _File


class GatewaySettings(Strict):
    """The file, checked; times in seconds.

    ``node_addresses`` names further addresses that a node's munge credentials may have for their origin,
    ``grant_wait`` is how long a grant may wait for a lane or a vendor, ``kill_grace`` how long after the end of a job
    its nodes get to report, ``hold_off`` how long after a refusal a job may start again at the earliest, and
    ``poll_slurm`` how often leases are compared with slurmctld. ``public_url`` is where jobs reach ``listen.jobs``,
    ``ca`` the file on the nodes with the certificates to trust there, ``pasqal_hook`` the directory on the nodes with
    the import hook for programs of Pasqal's client, ``token_from`` from where a job's token is taken.
    """

    qrmi_config: _File
    state_dir: _File
    slurm_conf: _File | None = None
    munge_socket: _File | None = None
    cluster: Text | None = None
    listen: Listen
    tls: Tls | None = None
    public_url: Annotated[str, _public] | None = None
    ca: _File | None = None
    helper_socket: _File | None = None
    operators: tuple[Text, ...] = ()
    node_addresses: Mapping[str, tuple[Annotated[str, _ipv4], ...]] = MappingProxyType({})
    grant_wait: _Seconds = 20.0
    kill_grace: _Seconds = 30.0
    hold_off: Annotated[float, between(1, 3600)] = 30.0
    poll_slurm: Annotated[float, between(0.1, 600)] = 3.0
    pasqal_hook: _File | None = None
    token_from: Literal["nodes", "any"] = "nodes"  # noqa: S105  no token
    insecure: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def any_address(self) -> bool:
        """Whether a job's token is taken from other addresses than those of its nodes."""
        return self.token_from == "any"  # noqa: S105  no token

    @property
    def jobs_url(self) -> str | None:
        """Where jobs reach the gateway, without a slash at its end; None where it does not listen for them."""
        if self.listen.jobs is None:
            return None
        return (self.public_url or f"{'https' if self.tls else 'http'}://{self.listen.jobs}").rstrip("/")

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return Path(self.state_dir) / "journal.sqlite"


def load_gateway_settings(option: Path | None = None) -> tuple[Path, GatewaySettings]:
    """The file that is named, else that of ``QRMI_GATEWAY_CONFIG``, else the site's; and what is in it.

    Raises:
        ConfigurationError: there is none, or the first mistake in it.
    """
    file = gateway_file(option)
    if file is None:
        raise ConfigurationError(
            f"which gateway? There is no {SITE_GATEWAY_CONFIG}, and neither --config nor {GATEWAY_CONFIG} names a file"
        )
    settings = load_strict(
        file, GatewaySettings, example='{"qrmi_config": "/etc/qrmi/qrmi_config.json", "state_dir": ..., "listen": {}}'
    )
    _check_listeners(file, settings)
    return file, settings


def _check_listeners(file: Path, settings: GatewaySettings) -> None:
    listen = settings.listen
    if listen.admin is None and listen.admin_tcp is None:
        raise ConfigurationError(
            "nobody could reach the gateway: admin (a unix socket), admin_tcp (host:port), or both were expected",
            file=str(file),
            place="listen",
        )
    for key in ("admin_tcp", "jobs", "metrics"):
        address = getattr(listen, key)
        if address is None or settings.tls is not None or settings.insecure:
            continue
        host, _ = split_address(address)
        if not is_loopback(host):
            raise ConfigurationError(
                f"{address} can be reached from other hosts, so TLS is needed: name certificate and key in "
                f'tls, or set "insecure": true where the network is trusted',
                file=str(file),
                place=f"listen.{key}",
            )
    if settings.tls is not None and (settings.public_url or "").lower().startswith("http:"):
        raise ConfigurationError(
            f"with tls the gateway speaks https only, so jobs could not reach {settings.public_url}: write https://",
            file=str(file),
            place="public_url",
        )
    if listen.jobs is not None and settings.public_url is None:
        host, port = split_address(listen.jobs)
        if host in {"0.0.0.0", "::", ""} or port == 0:  # noqa: S104  nothing is bound here
            raise ConfigurationError(
                f"jobs cannot be told to go to {listen.jobs}: name the address that they reach in public_url",
                file=str(file),
                place="public_url",
            )
