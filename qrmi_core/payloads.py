# SPDX-License-Identifier: Apache-2.0
"""What is sent to a resource to be run: one frozen type per kind of input.

The vendor's own JSON stays inside as bytes and is never encoded again on its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["AliceBobFelis", "IQMServer", "Payload", "PulserBatch", "PulserJob", "QiskitPrimitive"]


@dataclass(frozen=True)
class QiskitPrimitive:
    """A call of an IBM primitive or program.

    ``program_id`` is ``sampler``, ``estimator``, ``noise-learner`` or ``executor``; ``parameters`` is the JSON object
    ``params`` of IBM's REST API: ``{"pubs": [...], "options": {...}, "version": 2, "support_qiskit": true}``. The other
    fields go beside it where the vendor keeps them: ``max_execution_time`` are seconds of device time.
    """

    program_id: str
    parameters: bytes
    tags: tuple[str, ...] = ()
    log_level: str | None = None
    private: bool = False
    max_execution_time: int | None = None


@dataclass(frozen=True)
class PulserJob:
    """One run of a batch's sequence.

    ``runs`` is the number of shots (None where an emulator's configuration says it); ``variables`` is the
    JSON object of values for a parametrised or mappable sequence, as Pulser's job parameters give it.
    """

    runs: int | None = None
    variables: bytes | None = None


@dataclass(frozen=True)
class PulserBatch:
    """A Pulser sequence and the jobs that run it.

    ``sequence`` is ``Sequence.to_abstract_repr()``, a template when it has variables. ``device_type`` names
    an emulator (``EMU_FREE`` ...), None means the resource's own device. ``configuration`` is
    ``EmulationConfig.to_abstract_repr()``. An ``open`` batch takes more jobs later and may begin with none.
    """

    sequence: bytes
    jobs: tuple[PulserJob, ...]
    device_type: str | None = None
    configuration: bytes | None = None
    open: bool = False


@dataclass(frozen=True)
class IQMServer:
    """A job for an IQM server; ``iqmjson`` is the request body, ``job_type`` one of circuit, run, sweep."""

    iqmjson: bytes
    job_type: str
    use_timeslot: bool = False
    tag: str | None = None


@dataclass(frozen=True)
class AliceBobFelis:
    """A job for Alice & Bob's Felis; ``human_qir`` is the program's text, ``input_params`` a JSON object."""

    human_qir: bytes
    input_params: bytes


Payload: TypeAlias = QiskitPrimitive | PulserBatch | IQMServer | AliceBobFelis
