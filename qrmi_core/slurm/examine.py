# SPDX-License-Identifier: Apache-2.0
"""All checks of `qrmi check --slurm`, as far as the host on which it runs can see."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrmi_core.admin_client import AdminClient
from qrmi_core.client_settings import ClientSettings, load_client_settings
from qrmi_core.environment import client_file, slurm_environment
from qrmi_core.errors import ConfigurationError, QRMIError
from qrmi_core.http_settings import HttpSettings
from qrmi_core.slurm import host_checks
from qrmi_core.slurm.checks import Finding, fine, licences, of_configuration, slurm_settings, unseen, wrong
from qrmi_core.slurm.controller import Controller
from qrmi_core.slurm.node_file import SITE_NODE_FILE, NodeFile, load_node_file
from qrmi_core.transport import ExchangeFailed, Transport

__all__ = ["Host", "examine"]

GATEWAY_SECONDS = 10.0


@dataclass(frozen=True)
class Host:
    """What is known beforehand of the host on which the checks run.

    ``node`` is its name in Slurm where that is not its host name, ``slurm_conf`` its own file where that is not the
    usual; ``node_addresses`` and ``gateway_user`` come from gateway.json where the gateway is on this host.
    """

    node: str | None = None
    node_file: Path | None = None
    client_file: Path | None = None
    slurm_conf: Path | None = None
    node_addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gateway_user: str | None = None


def examine(controller: Controller, host: Host) -> list[Finding]:
    """Run every check; none is left out because another one failed."""
    findings: list[Finding] = []
    node_file, client = _files(host, findings)
    lanes = _gateway(client, findings)
    try:
        config = controller.config()
        nodes, there = controller.node_addresses(), controller.licenses()
    except QRMIError as error:
        return [wrong("slurmctld", str(error), "start it, or run this on a host where `sinfo` works"), *findings]
    findings.insert(0, fine("slurmctld", f"Slurm {config.get('SLURM_VERSION', '')}".rstrip()))
    of_controller = Path(config.get("SLURM_CONF", "/etc/slurm/slurm.conf"))
    slurm_conf = host.slurm_conf or Path(slurm_environment().get("SLURM_CONF", of_controller))
    local = slurm_settings(host_checks.read_slurm_conf(slurm_conf))
    on_node = (host.node or host_checks.own_name()) in nodes
    patience = round(node_file.patience if node_file else NodeFile.patience)
    findings += of_configuration(config, local, patience=patience, on_node=on_node)
    known = lanes if lanes is not None else {each.name: each.lanes for each in client.resources} if client else {}
    findings += licences(there, known)
    findings += host_checks.job_submit(config, of_controller.parent, known)
    plugstack = Path(local.get("plugstackconfig") or config.get("PlugStackConfig") or "")
    if not plugstack.is_absolute():
        plugstack = slurm_conf.parent / "plugstack.conf"
    findings.append(host_checks.plugin(plugstack, config.get("SLURM_VERSION", "")))
    socket = (node_file.munge_socket if node_file else None) or (client.munge_socket if client else None)
    findings.append(host_checks.credential(host.node, nodes, host.node_addresses, socket))
    findings.append(host_checks.private_data(config, host.gateway_user, host.slurm_conf))
    return findings


def _files(host: Host, findings: list[Finding]) -> tuple[NodeFile | None, ClientSettings | None]:
    """node.json and client.json of this host; where both say where the gateway is, a node's prolog counts."""
    node_file, client = None, None
    path = host.node_file or (SITE_NODE_FILE if SITE_NODE_FILE.exists() else None)
    if path is None:
        findings.append(unseen("node.json", f"{SITE_NODE_FILE} is not on this host, so this is taken for no node"))
    else:
        try:
            node_file = load_node_file(path)
            findings.append(fine("node.json", str(path)))
        except ConfigurationError as error:
            findings.append(wrong("node.json", str(error), "`qrmi slurm configure` writes a right one"))
    if host.client_file is None and client_file() is None:
        findings.append(unseen("client.json", "is not on this host, so users' commands do not find the gateway"))
    else:
        try:
            client = load_client_settings(host.client_file)
            findings.append(fine("client.json", str(client_file(host.client_file))))
        except ConfigurationError as error:
            findings.append(wrong("client.json", str(error), "`qrmi slurm configure` writes a right one"))
    if node_file is not None:
        resources = client.resources if client else ()
        try:
            told = {"url": node_file.gateway, "ca": node_file.ca, "munge_socket": node_file.munge_socket}
            client = ClientSettings.checked({**told, "resources": resources})
        except ValueError as error:
            reason = f"gateway is {node_file.gateway!r}: {error}"
            findings.append(wrong("node.json", reason, "`qrmi slurm configure` writes a right one"))
    return node_file, client


def _gateway(client: ClientSettings | None, findings: list[Finding]) -> dict[str, int] | None:
    """The lanes of the site's QPUs as the gateway knows them; None where it does not tell."""
    check = "gateway"
    if client is None:
        findings.append(unseen(check, "this host is not told where it is"))
        return None
    admin = AdminClient(client, read_timeout=GATEWAY_SECONDS)
    hint = "start it (systemctl start qrmi-gateway), and let no firewall stand between; its log says more"
    try:
        health = admin.health()
    except QRMIError as error:
        findings.append(wrong(check, str(error), hint))
        return None
    findings.append(_well(check, client.url, health))
    findings.append(_clock(client))
    try:
        return {str(each["name"]): int(each["lanes"]) for each in admin.resources()}
    except (QRMIError, KeyError, ValueError) as error:
        findings.append(wrong(check, str(error), "compare this host's munge.key and clock with the gateway's"))
        return None


def _well(check: str, url: str, health: Mapping[str, Any]) -> Finding:
    ill = [f"{part} is {health[part]}" for part in ("journal", "slurmctld") if health.get(part) != "ok"]
    if ill:
        return wrong(check, f"{url} says: {', '.join(ill)}", "its log says why: journalctl -u qrmi-gateway")
    return fine(check, url)


def _clock(client: ClientSettings) -> Finding:
    """The gateway's time as its answers tell it."""
    check = "clock"
    http = HttpSettings(ca=client.ca, socket=client.socket, read_timeout=GATEWAY_SECONDS, deadline=GATEWAY_SECONDS)
    base = "http://localhost" if client.socket else client.url
    try:
        _, headers, _ = Transport(http, "the gateway", "url").exchange("GET", f"{base}/healthz", {}, None)
        theirs = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    except (ExchangeFailed, KeyError, ValueError):
        return unseen(check, "the gateway does not tell its time")
    return host_checks.clock(check, theirs, time.time())
