# SPDX-License-Identifier: Apache-2.0
"""The worker of the Pulser engine: one job in, the cloud's result object out.

It runs in a process of its own that may decode what it likes. Everything heavy is imported with the module,
so that a job's process, forked from one that has it, starts at once; torch is imported only for the emulators
that need it.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from typing import Any, Literal, cast

import numpy as np
import pulser_simulation
from pulser import Sequence
from pulser.backend import BitStrings, EmulationConfig, Results
from pulser.backend.abc import EmulatorBackend
from pulser.devices import Device

from qrmi_core import InputError, LimitExceeded, Limits, PulserBatch, PulserJob, Work
from qrmi_pulser.building import on_device
from qrmi_pulser.configuration import decode_configuration
from qrmi_pulser.device_json import device_json
from qrmi_pulser.devices import device as read_device
from qrmi_pulser.emulators import emulator
from qrmi_pulser.estimate import check_size
from qrmi_pulser.reading import refusing
from qrmi_pulser.seeds import job_seed, seeded

__all__ = ["run"]

ONE_STATE: dict[str, Literal["r", "h", "d"]] = {"ground-rydberg": "r", "digital": "h", "XY": "d"}
TRAJECTORIES = 40

_log = logging.getLogger(__name__)


def run(work: Work) -> bytes:
    """Run one job of a :class:`PulserBatch`.

    Returns the JSON object ``{"counter", "raw", "serialised_results"}`` of Pasqal's cloud: ``counter`` maps the
    final bitstrings to their counts (null when none were asked for), ``serialised_results`` is
    ``pulser.backend.Results.to_abstract_repr()``.

    Raises:
        InputError: the sequence, its variables or the configuration cannot be used; says why.
        LimitExceeded: it is larger than the engine allows.
    """
    payload, job = work.payload, work.job
    if not isinstance(payload, PulserBatch) or job is None:
        raise InputError(f"{work.resource} runs jobs of Pulser batches only", resource=work.resource)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        sequence = _built(payload, job, work.limits)
        with seeded(job_seed(work.seed, work.task_id, work.job_id)):
            if payload.device_type is None:
                results = _run_as_device(sequence, job.runs, work)
            else:
                config, backend = _emulation(sequence, payload.device_type, payload.configuration, job.runs, work)
                results = cast("Results", backend(sequence, config=config).run())
    return json.dumps(
        {
            "counter": _final_counts(results),
            "raw": None,
            "serialised_results": results.to_abstract_repr(skip_validation=True),
        }
    ).encode()


def _built(payload: PulserBatch, job: PulserJob, limits: Limits) -> Sequence[Any]:
    size = len(payload.sequence) + len(job.variables or b"") + len(payload.configuration or b"")
    if size > limits.decompressed:
        raise LimitExceeded(
            f"sequence, variables and configuration have {size} bytes together and {limits.decompressed} are allowed "
            f"(QRMI_ENGINE_MAX_INPUT_MB)"
        )
    with refusing("the sequence cannot be read"):
        sequence = Sequence.from_abstract_repr(payload.sequence.decode())
    if not (sequence.is_parametrized() or sequence.is_register_mappable()):
        return sequence
    with refusing("the sequence cannot be built from the job's variables"):
        return sequence.build(**json.loads(job.variables or b"{}"))


def _run_as_device(sequence: Sequence[Any], runs: int | None, work: Work) -> Results:
    """What a QPU gives: bitstrings of the resource's own device, with that device's noise if it has any."""
    if runs is None or runs < 1:
        raise InputError("a QPU needs the number of shots: give each job `runs` of 1 or more")
    device = cast("Device", read_device(device_json(work.settings, work.resource)))
    sequence = _on_device(sequence, device, runs)
    basis = sequence.get_measurement_basis()
    noise = device.noise_model
    trajectories = 1 if noise is None else min(runs, TRAJECTORIES)
    shots = -(-runs // trajectories)
    _check_shots(shots * trajectories, work.limits)
    config = pulser_simulation.QutipConfig(
        observables=[BitStrings(evaluation_times=[1.0], num_shots=shots, one_state=ONE_STATE[basis])],
        prefer_device_noise_model=noise is not None,
        n_trajectories=trajectories,
    )
    check_size(sequence, "EMU_FREE", config, work.limits, work.resource)
    emulated = pulser_simulation.QutipBackendV2(sequence, config=config).run()
    counts = _thinned(emulated.final_bitstrings, runs)
    return Results.from_final_bitstrings(emulated.atom_order, emulated.total_duration, counts)


def _on_device(sequence: Sequence[Any], device: Device, runs: int) -> Sequence[Any]:
    """The sequence on the device that the resource stands for, refused as a QPU refuses it."""
    if device.max_runs is not None and runs > device.max_runs:
        raise LimitExceeded(f"{runs} runs were asked for and {device.name} takes {device.max_runs} at most")
    return _measured(on_device(sequence, device))


def _measured(sequence: Sequence[Any]) -> Sequence[Any]:
    if not sequence.is_measured():
        bases = sequence.get_addressed_bases()
        if len(bases) != 1:
            raise InputError(f"the sequence addresses the bases {', '.join(bases)}: end it with measure(basis)")
        sequence.measure(bases[0])
    return sequence


def _emulation(
    sequence: Sequence[Any], device_type: str, configuration: bytes | None, runs: int | None, work: Work
) -> tuple[EmulationConfig[Any], type[EmulatorBackend]]:
    """The emulator that the device type names, and the user's configuration for it, within the limits."""
    chosen = emulator(device_type, work.resource)
    backend: type[EmulatorBackend] = getattr(importlib.import_module(chosen.module), chosen.backend)
    if chosen.extra == "emulators":
        importlib.import_module("torch").set_num_threads(work.limits.threads)
    config = decode_configuration(configuration, backend, chosen, runs)
    levels = len(sequence.get_addressed_states())
    for observable in config.observables:
        if isinstance(observable, BitStrings):
            shots = observable._num_shots or config.default_num_shots  # noqa: SLF001  the property warns of None
            _check_shots(shots * config.n_trajectories, work.limits)
            if observable.one_state is None and levels > 2 and sequence.is_measured():
                observable.one_state = ONE_STATE[sequence.get_measurement_basis()]
    check_size(sequence, device_type, config, work.limits, work.resource)
    return config, backend


def _check_shots(shots: int, limits: Limits) -> None:
    if shots > limits.shots:
        raise LimitExceeded(
            f"{shots} shots (of all noise trajectories together) were asked for and {limits.shots} are allowed "
            f"(QRMI_ENGINE_MAX_SHOTS)"
        )


def _thinned(counts: dict[str, int], runs: int) -> dict[str, int]:
    """``runs`` of the shots, drawn without replacement: trajectories give a few more than asked for."""
    if sum(counts.values()) == runs:
        return {key: int(count) for key, count in counts.items()}
    generator = np.random.default_rng(np.random.randint(2**31))
    kept = generator.multivariate_hypergeometric(list(counts.values()), runs)
    return {key: int(count) for key, count in zip(counts, kept, strict=True) if count}


def _final_counts(results: Results) -> dict[str, int] | None:
    try:
        counts: dict[str, Any] = results.final_bitstrings
    except RuntimeError:
        return None
    return {str(key): int(count) for key, count in counts.items()}
