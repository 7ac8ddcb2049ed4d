# SPDX-License-Identifier: Apache-2.0
"""What a resource speaks: how circuits are written for it, and how what it answers is read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qiskit.primitives import PrimitiveResult, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_core import IQMServer, Payload, QiskitPrimitive, QRMIWarning, QuantumResource
from qrmi_qiskit.codec import decode_result, encode_estimator, encode_sampler

if TYPE_CHECKING:
    from qrmi_qiskit.backend import QRMIBackend

__all__ = ["Language", "language_of", "warn_of_idle"]

_ON_SIMULATORS = frozenset({"default_shots", "default_precision", "seed_estimator", "simulator.seed_simulator"})


class Language(Protocol):
    """One way to run pubs; a resource's kind of payload tells which it takes."""

    def sampler(self, pubs: Sequence[SamplerPub], options: Mapping[str, Any], backend: QRMIBackend) -> Payload:
        """What to send to sample pubs.

        Raises:
            InputError: they cannot be written.
        """

    def estimator(
        self,
        pubs: Sequence[EstimatorPub],
        options: Mapping[str, Any],
        resilience_level: int | None,
        backend: QRMIBackend,
    ) -> Payload:
        """What to send to estimate the observables of pubs.

        Raises:
            InputError: they cannot be written.
        """

    def result(
        self, data: bytes, primitive_id: str, inputs: Mapping[str, Any] | None, backend: QRMIBackend
    ) -> PrimitiveResult[PubResult]:
        """Read what came back; ``inputs`` are the ``pubs`` that were sent, None in a process that did not send them.

        Raises:
            ResultError: it is damaged.
            UnsupportedFunction: it means nothing without the inputs.
        """

    def primitive_id(self, program: str | None) -> str:
        """The primitive whose result a task has, by the vendor's word for its program."""

    def idle(self, options: Iterable[str], *, simulator: bool) -> list[str]:
        """Those of the options (``twirling.enable_gates`` ...) that change nothing."""


class PrimitiveLanguage:
    """IBM's primitives, whose typed JSON holds pubs as they are."""

    def sampler(self, pubs: Sequence[SamplerPub], options: Mapping[str, Any], backend: QRMIBackend) -> Payload:
        return QiskitPrimitive("sampler", encode_sampler(pubs, options=options, dt=backend.target.dt))

    def estimator(
        self,
        pubs: Sequence[EstimatorPub],
        options: Mapping[str, Any],
        resilience_level: int | None,
        backend: QRMIBackend,
    ) -> Payload:
        parameters = encode_estimator(pubs, options=options, resilience_level=resilience_level, dt=backend.target.dt)
        return QiskitPrimitive("estimator", parameters)

    def result(
        self, data: bytes, primitive_id: str, inputs: Mapping[str, Any] | None, backend: QRMIBackend
    ) -> PrimitiveResult[PubResult]:
        return decode_result(data)

    def primitive_id(self, program: str | None) -> str:
        return program or "sampler"

    def idle(self, options: Iterable[str], *, simulator: bool) -> list[str]:
        return [name for name in options if simulator and name not in _ON_SIMULATORS]


def language_of(resource: QuantumResource) -> Language | None:
    """The language of a resource, None where it runs no circuits."""
    if QiskitPrimitive in resource.takes:
        return PrimitiveLanguage()
    if IQMServer in resource.takes:
        from qrmi_qiskit.iqm.language import IQMLanguage  # of use where IQM's circuits are taken only

        return IQMLanguage()
    return None


def warn_of_idle(options: Iterable[str], backend: QRMIBackend, *, stacklevel: int) -> None:
    """Warn once, naming every option that was set and changes nothing; ``stacklevel`` is that of the caller."""
    if idle := sorted(options):
        what = "a simulator" if backend.simulator else "this resource"
        warnings.warn(
            f"these options have no effect on {backend.name}, {what}: {', '.join(idle)}",
            QRMIWarning,
            stacklevel=stacklevel + 1,
        )
