# SPDX-License-Identifier: Apache-2.0
"""What the helper needs of gateway.json, and whom it believes."""

from __future__ import annotations

import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qrmi_core.config import load_site
from qrmi_core.errors import ConfigurationError
from qrmi_core.gateway.settings import load_gateway_settings

__all__ = ["HelperSettings", "load", "refreshed"]

_log = logging.getLogger("qrmi.helper")


MUNGE_TYPES = frozenset({"pasqal-local"})
"""The resource types whose vendor knows users by munge."""


@dataclass(frozen=True)
class HelperSettings:
    """``uid`` and ``gid`` are those of the gateway: of whoever owns the directory of its journal.

    ``lanes`` has the resources and pools; ``munged`` are the resources whose vendor knows users by munge.
    """

    file: Path
    socket: Path
    journal: Path
    slurm_conf: str | None
    munge_socket: str | None
    uid: int
    gid: int
    lanes: Mapping[str, int]
    munged: tuple[str, ...]


def load(option: Path | None = None) -> HelperSettings:
    """Read gateway.json and the configuration that it names.

    Raises:
        ConfigurationError: one cannot be used, or somebody else than root could change it.
    """
    file, read = load_gateway_settings(option)
    if read.helper_socket is None:
        raise ConfigurationError(
            "name the helper's socket, as in /run/qrmi-helper/helper.sock", file=str(file), place="helper_socket"
        )
    socket, config = Path(read.helper_socket), Path(read.qrmi_config)
    try:
        gateway = Path(read.state_dir).stat()
    except OSError as error:
        raise ConfigurationError(
            f"{read.state_dir} cannot be read ({error.strerror}): make it, owned by the gateway's user, with mode 0700",
            file=str(file),
            place="state_dir",
        ) from error
    for path, owners in ((file, {0}), (config, {0, gateway.st_uid}), (socket.parent, {0})):
        _check_trusted(path, owners)
    site = load_site(config)
    return HelperSettings(
        file=file,
        socket=socket,
        journal=read.journal,
        slurm_conf=read.slurm_conf,
        munge_socket=read.munge_socket,
        uid=gateway.st_uid,
        gid=gateway.st_gid,
        lanes={each.name: each.lanes for each in site.resources}
        | {each.name: site.pool_lanes(each) for each in site.pools},
        munged=tuple(each.name for each in site.resources if each.type in MUNGE_TYPES),
    )


def refreshed(settings: HelperSettings) -> HelperSettings:
    """The same with the resources as they are configured now; with those of before where that is wrong."""
    try:
        now = load(settings.file)
    except ConfigurationError as error:
        _log.warning("the configuration is not taken, the one before stays in force: %s", error)
        return settings
    return replace(settings, lanes=now.lanes, munged=now.munged)


def _check_trusted(path: Path, owners: set[int]) -> None:
    """Root acts on what is written there, so nobody else may write it."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigurationError(f"it cannot be read: {error.strerror}", file=str(path)) from error
    if found.st_uid not in owners or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            "others than root could change it, and the root helper acts on it: chown root, chmod go-w", file=str(path)
        )
