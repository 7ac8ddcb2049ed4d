# SPDX-License-Identifier: Apache-2.0
"""From Pulser's objects to what is sent: a sequence template and its jobs, each checked before it leaves."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pulser import Sequence
from pulser.backend import EmulationConfig
from pulser.sequence import store_package_version_metadata

from qrmi_core import InputError, PulserBatch, PulserJob, QRMIWarning
from qrmi_pulser.building import remember

__all__ = ["prepare"]

_JOB_KEYS = ("runs", "variables")


def prepare(
    sequence: Sequence[Any],
    job_params: list[Mapping[str, Any]],
    device_type: str | None,
    configuration: EmulationConfig[Any] | None,
    *,
    open_batch: bool,
) -> PulserBatch:
    """The batch to submit; a sequence with variables is sent as a template and built here once per job.

    Raises:
        InputError: the jobs or the configuration cannot be sent.
        TypeError, ValueError: Pulser refuses to build the sequence from a job's variables; a note names the job.
    """
    if configuration is not None and device_type is None:
        raise InputError(
            "backend_configuration is for emulators, and no device_type was given: use a remote emulator backend "
            "(pasqal_cloud.RemoteEmuFreeBackend), or leave it out for a QPU"
        )
    if configuration is not None and not isinstance(configuration, EmulationConfig):
        raise InputError(f"backend_configuration is a {type(configuration).__name__}, an EmulationConfig was expected")
    store_package_version_metadata("qrmi_pulser", _own_version())
    # Its validation takes longer than all the rest; templates are read again below, which validates them.
    text = sequence.to_abstract_repr(skip_validation=True)
    jobs = tuple(_job(number, params) for number, params in enumerate(job_params, 1))
    if device_type is None:
        _check_runs(jobs, sequence.device.max_runs, sequence.device.name)
    _build_once(sequence, text, jobs)
    return PulserBatch(
        sequence=text.encode(),
        jobs=jobs,
        device_type=device_type,
        configuration=None if configuration is None else configuration.to_abstract_repr().encode(),
        open=open_batch,
    )


@functools.cache
def _own_version() -> str:
    return version("qrmi-providers")


def _check_runs(jobs: tuple[PulserJob, ...], most: int | None, device: str) -> None:
    for number, job in enumerate(jobs, 1):
        if job.runs is None:
            raise InputError(f"job {number}: a QPU needs the number of shots, give it `runs`")
        if most is not None and job.runs > most:
            raise InputError(f"job {number}: {job.runs} runs were asked for and {device} takes {most} at most")


def _job(number: int, params: Mapping[str, Any]) -> PulserJob:
    if unknown := sorted(set(params) - set(_JOB_KEYS)):
        raise InputError(f"job {number}: unknown {', '.join(unknown)}; a job has {' and '.join(_JOB_KEYS)}")
    runs = _plain(params.get("runs"))
    if isinstance(runs, float) and runs.is_integer():
        runs = int(runs)
    if runs is not None and (not isinstance(runs, int) or isinstance(runs, bool) or runs < 1):
        raise InputError(f"job {number}: runs is {runs!r}, a whole number of at least 1 was expected")
    variables = _plain(params.get("variables"))
    if not variables:
        return PulserJob(runs)
    if not isinstance(variables, dict):
        raise InputError(f"job {number}: variables is a {type(variables).__name__}, a dictionary was expected")
    try:
        return PulserJob(runs, json.dumps(variables, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise InputError(f"job {number}: the variables cannot be sent: {error}") from None


def _plain(value: Any) -> Any:
    """The same without numpy's and torch's types, and with text as keys, as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _build_once(sequence: Sequence[Any], text: str, jobs: tuple[PulserJob, ...]) -> None:
    """Build what was just written from each job's values, so that mistakes show here and not on the device."""
    data = text.encode()
    if not (sequence.is_parametrized() or sequence.is_register_mappable()):
        if any(job.variables for job in jobs):
            warnings.warn("the jobs have variables and the sequence has none: they change nothing", QRMIWarning, 4)
        remember(data, None, sequence)
        return
    template = Sequence.from_abstract_repr(text)
    for number, job in enumerate(jobs, 1):
        try:
            remember(data, job.variables, template.build(**json.loads(job.variables or b"{}")))
        except Exception as error:
            error.add_note(f"in job {number} of {len(jobs)}; nothing was submitted")
            raise
