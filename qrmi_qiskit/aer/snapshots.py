# SPDX-License-Identifier: Apache-2.0
"""The snapshots of real devices that qiskit-ibm-runtime ships, read without importing it."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

__all__ = ["snapshot_device", "snapshot_files", "snapshot_names"]

_PACKAGE = "qiskit_ibm_runtime"


@functools.cache
def _directory() -> Path | None:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    directory = Path(found.submodule_search_locations[0], "fake_provider", "backends")
    return directory if directory.is_dir() else None


@functools.cache
def snapshot_names() -> tuple[str, ...]:
    """The names of all snapshots, sorted; none where qiskit-ibm-runtime is not installed."""
    directory = _directory()
    if directory is None:
        return ()
    return tuple(sorted(path.name for path in directory.iterdir() if (path / f"props_{path.name}.json").is_file()))


def snapshot_files(name: str) -> tuple[Path, Path]:
    """The files of a snapshot: IBM's configuration and properties JSON.

    Raises:
        LookupError: there is no such snapshot.
    """
    directory = _directory()
    if directory is None or name not in snapshot_names():
        raise LookupError(name)
    return directory / name / f"conf_{name}.json", directory / name / f"props_{name}.json"


def snapshot_device(name: str) -> str:
    """What IBM calls the device that a snapshot was taken of, such as ibm_fez.

    Raises:
        LookupError: there is no such snapshot.
    """
    configuration, _ = snapshot_files(name)
    return str(json.loads(configuration.read_bytes())["backend_name"])
