# SPDX-License-Identifier: Apache-2.0
"""For which version of Slurm a plugin was built, read out of its file: nothing of it is run."""

from __future__ import annotations

import struct
from pathlib import Path

from qrmi_core.errors import InputError

__all__ = ["plugin_version", "version_text"]

SYMBOL = b"plugin_version"
_DYNSYM = 11
_NO_PLACE = {0, 0xFFF1}
_SECTION = {True: "IIQQQQIIQQ", False: "IIIIIIIIII"}
_HEADER = {True: ("QI", 0x28), False: ("II", 0x20)}


def plugin_version(path: Path) -> tuple[int, int, int]:
    """Major, minor and micro version of Slurm that the plugin was compiled for.

    Raises:
        InputError: the file cannot be read, or is no plugin of Slurm's.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        number = _constant(data)
    except (struct.error, IndexError, ValueError):
        number = None
    if number is None:
        raise InputError(f"{path}: is no plugin of Slurm's: it has no {SYMBOL.decode()}")
    return number >> 16, number >> 8 & 0xFF, number & 0xFF


def version_text(version: tuple[int, ...]) -> str:
    """The version as Slurm writes it, e.g. 22.05.8."""
    return ".".join(f"{part:02d}" if place == 1 else str(part) for place, part in enumerate(version))


def _constant(data: bytes) -> int | None:
    """The value of the 32-bit constant, None where there is none; see elf(5)."""
    if data[:4] != b"\x7fELF":
        return None
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    width, place = _HEADER[wide]
    (start,) = struct.unpack_from(f"{order}{width[0]}", data, place)
    size, count = struct.unpack_from(f"{order}HH", data, 0x3A if wide else 0x2E)
    sections = [struct.unpack_from(f"{order}{_SECTION[wide]}", data, start + index * size) for index in range(count)]
    for _, kind, _, _, offset, length, link, _, _, each in sections:
        if kind != _DYNSYM:
            continue
        names = sections[link][4]
        for entry in range(offset, offset + length, each):
            name, section, value = _symbol(data, entry, order, wide=wide)
            if section not in _NO_PLACE and _text(data, names + name) == SYMBOL:
                _, _, _, address, begin, *_ = sections[section]
                (number,) = struct.unpack_from(f"{order}I", data, value - address + begin)
                return int(number)
    return None


def _symbol(data: bytes, entry: int, order: str, *, wide: bool) -> tuple[int, int, int]:
    """Where its name is, the number of its section, and its address."""
    if wide:
        name, _, _, section, value = struct.unpack_from(f"{order}IBBHQ", data, entry)
    else:
        name, value, _, _, _, section = struct.unpack_from(f"{order}IIIBBH", data, entry)
    return name, section, value


def _text(data: bytes, start: int) -> bytes:
    return data[start : data.index(b"\0", start)]
