# SPDX-License-Identifier: Apache-2.0
"""SamplerV2: bits of measured circuits, shot by shot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qiskit.primitives import BaseSamplerV2
from qiskit.primitives.containers.sampler_pub import SamplerPubLike

from qrmi_core import QuantumResource
from qrmi_qiskit.backend import QRMIBackend
from qrmi_qiskit.job import QRMIJob
from qrmi_qiskit.options import SamplerOptions
from qrmi_qiskit.primitive import as_asked, backend_of, check_circuits, check_options, options_of
from qrmi_qiskit.pubs import sampler_pubs

__all__ = ["SamplerV2"]


class SamplerV2(BaseSamplerV2):  # type: ignore[misc]
    """Samples measured circuits on a QPU or simulator of this job.

    sampler = SamplerV2(backend)
    result = sampler.run([circuit, (template, [[0.1], [0.2]])], shots=1000).result()
    result[0].data.meas.get_counts()
    """

    def __init__(
        self,
        mode: QRMIBackend | QuantumResource | str | None = None,
        options: SamplerOptions | Mapping[str, Any] | None = None,
    ) -> None:
        """Make a sampler.

        Args:
            mode: a backend, a resource, or a resource's name; None means the only QPU of this job.
            options: see :class:`~qrmi_qiskit.SamplerOptions`.

        Raises:
            ResourceNotFound, AmbiguousResource, ResourceUnavailable: no such QPU, or several.
            InputError: an option does not exist, or its value does not fit.
        """
        self._backend = backend_of(mode)
        self._options = options_of(SamplerOptions, options)

    @property
    def mode(self) -> None:
        """None: the lease of the job takes the place of sessions."""
        return

    @property
    def options(self) -> SamplerOptions:
        """The options of later runs; set them here."""
        return self._options

    def backend(self) -> QRMIBackend:
        """The backend that runs the circuits."""
        return self._backend

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> QRMIJob:
        """Submit pubs: circuits, ``(circuit, values)`` or ``(circuit, values, shots)``.

        The result has a :class:`~qiskit.primitives.SamplerPubResult` for each pub, with a
        :class:`~qiskit.primitives.BitArray` for each classical register, of the shape of the values.

        Args:
            pubs: what to run.
            shots: for pubs that name none; by default ``options.default_shots``.

        Raises:
            InputError: a pub is not complete or does not fit the target; nothing was submitted.
            LimitExceeded: it is larger than the resource takes.
        """
        backend, options = self._backend, self._options
        complete = sampler_pubs(pubs, shots, options.default_shots, backend.max_shots)
        check_circuits(complete, backend)
        check_options(options, backend)
        program = options.program_options()
        task = backend.submit(as_asked(backend.language.sampler(complete, program, backend), options))
        return QRMIJob(task, backend, "sampler", {"pubs": complete, "options": program})
