# SPDX-License-Identifier: Apache-2.0
"""EstimatorV2: expectation values of observables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers.estimator_pub import EstimatorPubLike

from qrmi_core import QuantumResource
from qrmi_qiskit.backend import QRMIBackend
from qrmi_qiskit.job import QRMIJob
from qrmi_qiskit.options import EstimatorOptions
from qrmi_qiskit.primitive import as_asked, backend_of, check_circuits, check_options, options_of
from qrmi_qiskit.pubs import estimator_pubs, precision_of

__all__ = ["EstimatorV2"]


class EstimatorV2(BaseEstimatorV2):  # type: ignore[misc]
    """Estimates expectation values on a QPU or simulator of this job.

    estimator = EstimatorV2(backend)
    result = estimator.run([(circuit, [SparsePauliOp("ZZ"), SparsePauliOp("XX")], values)]).result()
    result[0].data.evs, result[0].data.stds
    """

    def __init__(
        self,
        mode: QRMIBackend | QuantumResource | str | None = None,
        options: EstimatorOptions | Mapping[str, Any] | None = None,
    ) -> None:
        """Make an estimator.

        Args:
            mode: a backend, a resource, or a resource's name; None means the only QPU of this job.
            options: see :class:`~qrmi_qiskit.EstimatorOptions`.

        Raises:
            ResourceNotFound, AmbiguousResource, ResourceUnavailable: no such QPU, or several.
            InputError: an option does not exist, or its value does not fit.
        """
        self._backend = backend_of(mode)
        self._options = options_of(EstimatorOptions, options)

    @property
    def mode(self) -> None:
        """None: the lease of the job takes the place of sessions."""
        return

    @property
    def options(self) -> EstimatorOptions:
        """The options of later runs; set them here."""
        return self._options

    def backend(self) -> QRMIBackend:
        """The backend that runs the circuits."""
        return self._backend

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QRMIJob:
        """Submit pubs: ``(circuit, observables)``, with values for its parameters and a precision where needed.

        Observables and values are broadcast against each other by NumPy's rules. The result has a
        :class:`~qiskit.primitives.PubResult` for each pub, whose ``data.evs`` and ``data.stds`` have that shape.

        Args:
            pubs: what to run.
            precision: the standard error to aim at, for pubs that name none; by default that of the options.

        Raises:
            InputError: a pub is not complete or does not fit the target; nothing was submitted.
            LimitExceeded: it is larger than the resource takes.
        """
        backend, options = self._backend, self._options
        default = options.default_precision if options.default_shots is None else precision_of(options.default_shots)
        complete = estimator_pubs(pubs, precision, default)
        check_circuits(complete, backend)
        check_options(options, backend)
        program = options.program_options()
        payload = backend.language.estimator(complete, program, options.resilience_level, backend)
        task = backend.submit(as_asked(payload, options))
        return QRMIJob(task, backend, "estimator", {"pubs": complete, "options": program})
