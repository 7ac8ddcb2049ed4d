# SPDX-License-Identifier: Apache-2.0
"""What SamplerV2 and EstimatorV2 share: whom to run on, the options, and the way to the resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2

from qrmi_core import InputError, Payload, QiskitPrimitive, QuantumResource
from qrmi_qiskit.backend import QRMIBackend
from qrmi_qiskit.language import warn_of_idle
from qrmi_qiskit.options import PrimitiveOptions
from qrmi_qiskit.validation import check_measured

__all__ = ["as_asked", "backend_of", "check_circuits", "check_options", "options_of"]

Options = TypeVar("Options", bound=PrimitiveOptions)


def backend_of(mode: object) -> QRMIBackend:
    """The backend that a primitive's ``mode`` means.

    Raises:
        InputError: it is something else.
        ResourceNotFound, AmbiguousResource, ResourceUnavailable: see :meth:`QRMIProvider.backend`.
    """
    if isinstance(mode, QRMIBackend):
        return mode
    if isinstance(mode, QuantumResource):
        return QRMIBackend(mode)
    if mode is None or isinstance(mode, str):
        from qrmi_qiskit.provider import QRMIProvider  # the service costs a tenth of Qiskit's import

        return QRMIProvider().backend(mode)
    if isinstance(mode, BackendV2):
        hint = "for a backend of another package use qiskit.primitives.BackendSamplerV2 or BackendEstimatorV2"
    else:
        hint = "a QRMIBackend, a QuantumResource, the name of a QPU, or None for the only one of this job was expected"
    raise InputError(f"mode cannot be {mode!r} ({type(mode).__name__}): {hint}")


def options_of(kind: type[Options], options: Options | Mapping[str, Any] | None) -> Options:
    """A primitive's own copy of the options it was given.

    Raises:
        InputError: they are of another kind, or an option does not exist or fit.
    """
    if options is None or isinstance(options, (kind, Mapping)):
        return kind.from_value(options)
    raise InputError(f"options are a {kind.__name__} or a dictionary, not {options!r} ({type(options).__name__})")


def check_circuits(pubs: Sequence[SamplerPub | EstimatorPub], backend: QRMIBackend) -> None:
    """Refuse circuits that do not fit the target or, to be sampled, measure nothing; each is looked at once.

    Raises:
        InputError: says in which pub.
    """
    seen: set[int] = set()
    for index, pub in enumerate(pubs):
        if id(pub.circuit) in seen:
            continue
        seen.add(id(pub.circuit))
        backend.check(pub.circuit, f"pub {index}")
        if isinstance(pub, SamplerPub):
            check_measured(pub.circuit, f"pub {index}")


def as_asked(payload: Payload, options: PrimitiveOptions) -> Payload:
    """A payload with the options of the task itself (tags, log level ...), where its vendor keeps any."""
    return replace(payload, **options.task_fields()) if isinstance(payload, QiskitPrimitive) else payload


def check_options(options: PrimitiveOptions, backend: QRMIBackend) -> None:
    """Warn once, naming every option that was set and changes nothing on this backend.

    Raises:
        InputError: an option would change the result into something else than was asked for.
    """
    if options.simulator.noise_model is not None:
        raise InputError(
            f"options.simulator.noise_model: {backend.name} has its own noise; "
            f"of the embedded simulators aer_ideal has none and the others have their device's"
        )
    chosen = [name for name, value in options.flattened().items() if value not in (False, 0, None)]
    warn_of_idle(backend.language.idle(chosen, simulator=backend.simulator), backend, stacklevel=3)
