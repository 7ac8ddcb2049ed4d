# SPDX-License-Identifier: Apache-2.0
"""What a backend says of itself, apart from its target: configuration and status, as IBM's users know them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BackendStatus", "Configuration"]


class Configuration:
    """IBM's ``configuration`` object, with its keys as attributes: ``n_qubits``, ``basis_gates``, ``max_shots`` ...

    Durations are as IBM gives them: ``dt`` in nanoseconds (``backend.dt`` is in seconds).
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)

    @property
    def num_qubits(self) -> int:
        """The number of qubits."""
        return int(self._data["n_qubits"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._data[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._data, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise AttributeError(f"the configuration has no {name}{hint}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._data})

    def to_dict(self) -> dict[str, Any]:
        """A copy of the object."""
        return copy.deepcopy(self._data)

    def __repr__(self) -> str:
        return f"<Configuration of {self._data.get('backend_name')}>"


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """A backend at one moment; ``pending_jobs`` is 0 where the vendor does not say."""

    backend_name: str
    backend_version: str
    operational: bool
    pending_jobs: int
    status_msg: str

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary."""
        return asdict(self)
