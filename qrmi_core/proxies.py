# SPDX-License-Identifier: Apache-2.0
"""Which proxy the environment names for a host: ``https_proxy``, ``all_proxy``, and whom ``no_proxy`` leaves out."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from qrmi_core.environment import proxy_variables

__all__ = ["PORTS", "environment_proxy"]

PORTS = {"http": 80, "https": 443}


def environment_proxy(scheme: str, host: str, port: int, variables: Mapping[str, str] | None = None) -> str | None:
    """The proxy's URL for requests to a host, None where they go there themselves.

    ``variables`` (proxy and no_proxy by their small names) are those of the environment by default.
    """
    known = proxy_variables() if variables is None else variables
    proxy = known.get(f"{scheme}_proxy") or known.get("all_proxy")
    if not proxy or _is_left_out(host, port, known.get("no_proxy") or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_left_out(host: str, port: int, no_proxy: str) -> bool:
    entries = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",")]
    host = host.strip("[]").lower()
    return any(entry and _means(entry, host, port) for entry in entries)


def _means(entry: str, host: str, port: int) -> bool:
    """Whether an entry of no_proxy (a host, a domain, host:port, an address or a network, or *) means a host."""
    if entry == "*" or entry.strip("[]") == host:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(end == entry or end.endswith(f".{entry}") for end in (host, f"{host}:{port}"))
    if entry in {f"{host}:{port}", f"[{host}]:{port}"}:
        return True
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
