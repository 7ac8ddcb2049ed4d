# SPDX-License-Identifier: Apache-2.0
"""Qiskit programs on the QPUs of this job.

    from qrmi_qiskit import QRMIProvider, SamplerV2

    backend = QRMIProvider().backend()
    counts = SamplerV2(backend).run([circuit]).result()[0].data.meas.get_counts()

Names are imported when they are first used, so that this package can be imported where Qiskit is not installed.
"""

from __future__ import annotations

from importlib import import_module
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
    try:
        module = import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == __name__:
            raise
        text = f"qrmi_qiskit.{name} needs {package}: pip install 'qrmi-providers[qiskit]'"
        raise ImportError(text, name=package) from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
