# SPDX-License-Identifier: Apache-2.0
"""JSON files that people write by hand: every mistake is named with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qrmi_core.errors import ConfigurationError

__all__ = ["load_json"]

_TEXT = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf"(?P<key>{_TEXT})(?=\s*:)|{_TEXT}|(?P<bracket>[{{}}])")


def load_json(path: Path) -> Any:
    """Read a JSON file in which no object has a key twice.

    Raises:
        ConfigurationError: it cannot be read, or is not such JSON; with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"it cannot be read: {reason}", file=str(path)) from error

    if not text.strip():
        raise ConfigurationError("it is empty; has what writes it ended?", file=str(path))

    def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        loaded = dict(pairs)
        if len(loaded) < len(pairs):
            twin, at = _twin(text)
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            raise ConfigurationError(
                f"the key {twin!r} stands twice in one object", file=str(path), place=f"line {line} column {column}"
            )
        return loaded

    try:
        return json.loads(text, object_pairs_hook=without_twins)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"not JSON: {error.msg}", file=str(path), place=f"line {error.lineno} column {error.colno}"
        ) from error
    except RecursionError:
        raise ConfigurationError("not usable: nested too deeply", file=str(path)) from None


def _twin(text: str) -> tuple[str, int]:
    """The first key that its object has already, and where; for JSON that has one."""
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        if token["bracket"]:
            keys = [*keys, set()] if token["bracket"] == "{" else keys[:-1]
        elif token["key"]:
            key = json.loads(token["key"])
            if key in keys[-1]:
                return key, token.start()
            keys[-1].add(key)
    raise AssertionError("the decoder found one")
