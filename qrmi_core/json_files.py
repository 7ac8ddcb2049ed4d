# SPDX-License-Identifier: Apache-2.0
"""JSON files that people write by hand: every mistake is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qrmi_core.errors import ConfigurationError

__all__ = ["load_json"]


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
            names = [name for name, _ in pairs]
            twin = next(name for name in names if names.count(name) > 1)
            raise ConfigurationError(f"the key {twin!r} stands twice in one object", file=str(path))
        return loaded

    try:
        return json.loads(text, object_pairs_hook=without_twins)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"not JSON: {error.msg}", file=str(path), place=f"line {error.lineno} column {error.colno}"
        ) from error
    except RecursionError:
        raise ConfigurationError("not usable: nested too deeply", file=str(path)) from None
