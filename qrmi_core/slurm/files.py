# SPDX-License-Identifier: Apache-2.0
"""The files that a site installs for Slurm: sources, scripts and units, as they came with this package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qrmi_core.errors import ConfigurationError, InputError

__all__ = ["Written", "shipped", "write", "write_texts"]

INSTALLED = Path(__file__).parent / "data"
CHECKOUT = Path(__file__).parents[2] / "slurm"
NOT_FOR_SITES = ("README.md", "cluster")
SCRIPT, TEXT = 0o755, 0o644


@dataclass(frozen=True)
class Written:
    """One file that is in the directory now; ``changed`` is False where it was there already, the same."""

    path: Path
    mode: int
    changed: bool


def shipped() -> dict[str, bytes]:
    """The content of every file for sites, by its path relative to the directory that they are written to.

    Raises:
        ConfigurationError: the installation is incomplete.
    """
    root = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in _files(root)}
    if not any(name.endswith(".c") for name in found):
        raise ConfigurationError(
            f"the files for Slurm are not in {root}: this installation of qrmi-providers is incomplete, install it anew"
        )
    return dict(sorted(found.items()))


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        built = path.suffix in {".so", ".o", ".pyc"}
        if path.is_file() and not built and inside.parts[0] not in NOT_FOR_SITES and "__pycache__" not in inside.parts:
            yield path


def write(directory: Path, *, force: bool = False) -> list[Written]:
    """Write the files for sites; one with ``#!`` in front can be executed.

    Raises:
        InputError: files of other content are there (all are named, none is written), or one cannot be written.
        ConfigurationError: the installation is incomplete.
    """
    return _write_all(directory, shipped(), force=force)


def write_texts(directory: Path, texts: Mapping[str, str], *, force: bool = False) -> list[Written]:
    """The same with files of the caller's own.

    Raises:
        InputError: as in :func:`write`.
    """
    return _write_all(directory, {name: text.encode() for name, text in texts.items()}, force=force)


def _write_all(directory: Path, files: Mapping[str, bytes], *, force: bool) -> list[Written]:
    try:
        different = [name for name, content in files.items() if _differs(directory / name, content)]
        if different and not force:
            raise InputError(_refusal(directory, different))
        return [_write_one(directory / name, content) for name, content in files.items()]
    except OSError as error:
        raise InputError(f"{error.filename or directory}: cannot be written: {error.strerror}") from None


def _refusal(directory: Path, names: Iterable[str]) -> str:
    listed = ", ".join(str(directory / name) for name in names)
    return f"these files are there with other content, so nothing was written: {listed}; --force overwrites them"


def _differs(path: Path, content: bytes) -> bool:
    return (path.is_symlink() or path.exists()) and not (path.is_file() and path.read_bytes() == content)


def _write_one(path: Path, content: bytes) -> Written:
    mode = SCRIPT if content.startswith(b"#!") else TEXT
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
        return Written(path, mode, changed=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Who runs a script meanwhile finds the old one or the new one, whole.
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        Path(draft).chmod(mode)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return Written(path, mode, changed=True)
