# SPDX-License-Identifier: Apache-2.0
"""Pulser programs on quantum processors of a workload manager.

    connection = QRMIConnection()                  # the Pulser QPU of this job
    device = connection.fetch_available_devices()["pulser_analog"]
    ...
    results = QPUBackend(sequence, connection).run(job_params=[{"runs": 1000}], wait=True)

Importing this package costs nothing; Pulser is imported when a name of it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrmi_pulser.connection import QRMIConnection
    from qrmi_pulser.devices import device
    from qrmi_pulser.qiskit_backend import QiskitPasqalBackend

__all__ = ["QRMIConnection", "QiskitPasqalBackend", "device"]

_HOMES = {
    "QRMIConnection": "qrmi_pulser.connection",
    "QiskitPasqalBackend": "qrmi_pulser.qiskit_backend",
    "device": "qrmi_pulser.devices",
}
_EXTRAS = {"QiskitPasqalBackend": "qiskit-pasqal"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("qrmi_"):
            raise
        raise ImportError(
            f"{__name__}.{name} needs {missing}, which is not installed: "
            f"pip install 'qrmi-providers[{_EXTRAS.get(name, 'pulser')}]'",
            name=error.name,
        ) from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
