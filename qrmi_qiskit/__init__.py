# SPDX-License-Identifier: Apache-2.0
"""Qiskit programs on the QPUs of this job.

    from qrmi_qiskit import QRMIProvider, SamplerV2

    backend = QRMIProvider().backend()
    counts = SamplerV2(backend).run([circuit]).result()[0].data.meas.get_counts()

Names are imported when they are first used, so that this package can be imported where Qiskit is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrmi_qiskit.backend import QRMIBackend
    from qrmi_qiskit.circuit_job import QRMICircuitJob
    from qrmi_qiskit.estimator import EstimatorV2
    from qrmi_qiskit.job import QRMIJob
    from qrmi_qiskit.options import EstimatorOptions, SamplerOptions
    from qrmi_qiskit.provider import QRMIProvider
    from qrmi_qiskit.sampler import SamplerV2

__all__ = [
    "EstimatorOptions",
    "EstimatorV2",
    "QRMIBackend",
    "QRMICircuitJob",
    "QRMIJob",
    "QRMIProvider",
    "SamplerOptions",
    "SamplerV2",
]

_MODULES = {
    "EstimatorOptions": "options",
    "EstimatorV2": "estimator",
    "QRMIBackend": "backend",
    "QRMICircuitJob": "circuit_job",
    "QRMIJob": "job",
    "QRMIProvider": "provider",
    "SamplerOptions": "options",
    "SamplerV2": "sampler",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for package in ("numpy", "qiskit"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"qrmi_qiskit.{name} needs {package}: pip install 'qrmi-providers[qiskit]'", name=package)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
