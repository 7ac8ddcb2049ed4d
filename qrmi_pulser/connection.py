# SPDX-License-Identifier: Apache-2.0
"""The connection that Pulser's remote backends take."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection, Mapping
from typing import Any, cast

from pulser import Sequence
from pulser.backend import EmulationConfig, Results
from pulser.backend.remote import (
    BatchStatus,
    JobParams,
    JobStatus,
    RemoteBackend,
    RemoteConnection,
    RemoteResults,
    RemoteResultsError,
)
from pulser.devices import Device

from qrmi_core import (
    BatchResource,
    InputError,
    PulserBatch,
    QRMIError,
    QuantumResource,
    TaskFailed,
    TaskInfo,
    TaskNotReady,
    TaskStatus,
)
from qrmi_pulser.choice import pulser_resource
from qrmi_pulser.devices import devices
from qrmi_pulser.progress import Progress, batch_status, job_status
from qrmi_pulser.submission import prepare

__all__ = ["QRMIConnection"]

FRESH_SECONDS = 5.0

_log = logging.getLogger("qrmi_pulser")


class QRMIConnection(RemoteConnection):
    """A Pulser connection to one QPU of this job; in the place of ``PasqalCloudConnection(...)``.

    It works with ``QPUBackend`` and with the remote emulator backends of pasqal_cloud. A batch stays known by its id:
    :meth:`get_results` finds it from another process.

    Args:
        resource: the name of a QPU, or a ``QuantumResource``; None for the only Pulser QPU there is.

    Raises:
        ResourceNotFound, AmbiguousResource: there is no such QPU, or no single one; says which there are.
        ResourceUnavailable: it cannot be used, and why.
        UnsupportedPayload: it runs no Pulser programs.
    """

    def __init__(self, resource: str | QuantumResource | None = None) -> None:
        self._resource = pulser_resource(resource)
        self._progress = Progress(self._resource)
        self._fetched: tuple[float, list[Device]] = (0.0, [])
        self._sent: dict[str, bytes] = {}
        self._told: set[str] = set()

    @property
    def resource(self) -> BatchResource:
        """The resource that this connection speaks to."""
        return self._resource

    def submit(
        self,
        sequence: Sequence[Any],
        wait: bool = False,
        open: bool = False,  # noqa: A002  Pulser's name
        batch_id: str | None = None,
        *,
        job_params: list[JobParams] | None = None,
        device_type: str | None = None,
        backend_configuration: EmulationConfig[Any] | None = None,
        **unknown: Any,
    ) -> RemoteResults:
        """Submit a batch, or more jobs of an open one; Pulser's backends call this.

        Args:
            sequence: what to run; parametrised and mappable ones are sent as templates.
            wait: return once the jobs have ended, whatever their end.
            open: leave the batch open for more jobs, also with none yet.
            batch_id: add the jobs to this open batch.
            job_params: a dictionary with ``runs`` and ``variables`` for each job.
            device_type: an emulator's name; None for the QPU itself, where ``runs`` is needed and the sequence is
                moved to the device's current specifications. On an emulator ``runs`` is the number of shots of
                ``BitStrings`` observables that name none.
            backend_configuration: what the emulator shall compute.
            **unknown: refused.

        Raises:
            InputError, ValueError, TypeError: this cannot be run; nothing was submitted.
        """
        if unknown:
            raise TypeError(f"QRMIConnection.submit() has no argument {', '.join(sorted(unknown))}")
        if not isinstance(sequence, Sequence):
            raise TypeError(f"'sequence' should be a `Sequence` instance, not {type(sequence)}.")
        emulated = device_type is not None
        params = self._checked(job_params, emulated=emulated, jobless=open)
        if not emulated:
            sequence = self.update_sequence_device(sequence)
        if not emulated or len(sequence.get_addressed_bases()) == 1:
            sequence = self._add_measurement_to_sequence(sequence)
        batch = prepare(
            sequence,
            cast("list[Mapping[str, Any]]", params),
            str(device_type) if emulated else None,
            backend_configuration,
            open_batch=open,
        )
        batch_id, job_ids = self._start(batch) if batch_id is None else self._add(batch_id, batch)
        if wait and job_ids:
            self._resource.batch_wait(batch_id, job_ids)
        return RemoteResults(batch_id, self, job_ids=job_ids)

    @staticmethod
    def _checked(job_params: list[JobParams] | None, *, emulated: bool, jobless: bool) -> list[JobParams]:
        if job_params is None:
            if jobless:
                return []
            if emulated:
                return [{}]
        RemoteBackend._type_check_job_params(job_params)  # noqa: SLF001  the text that users of Pulser know
        if not job_params and not jobless:
            raise InputError("there is no job to submit: job_params is empty")
        return job_params or []

    def _start(self, batch: PulserBatch) -> tuple[str, list[str]]:
        task = self._resource.submit(batch)
        self._sent[task.id] = _fingerprint(batch)
        return task.id, self._get_job_ids(task.id)

    def _add(self, batch_id: str, batch: PulserBatch) -> tuple[str, list[str]]:
        if self._sent.get(batch_id, _fingerprint(batch)) != _fingerprint(batch):
            raise InputError(
                f"batch {batch_id} was opened with another sequence, device type or configuration: "
                f"all jobs of a batch share them, open a new batch",
                task_id=batch_id,
            )
        return batch_id, list(self._resource.batch_add(batch_id, batch.jobs))

    def fetch_available_devices(self) -> dict[str, Device]:
        """The device of this connection's QPU, by the QPU's name; for an emulator all those that it can stand for."""
        found = cast("dict[str, Device]", devices(self._resource.target()))
        self._fetched = (time.monotonic(), list(found.values()))
        return found if len(found) > 1 else {self._resource.name: next(iter(found.values()))}

    def update_sequence_device(self, sequence: Sequence[Any]) -> Sequence[Any]:
        """The sequence, moved to the device as it is now where that has changed; Pulser's backends call this too.

        Specifications of a moment ago are not fetched again.

        Raises:
            ValueError: it was made for another device, or does not fit this one any more.
        """
        moment, known = self._fetched
        if time.monotonic() - moment < FRESH_SECONDS and sequence.device in known:
            return sequence
        return super().update_sequence_device(sequence)

    def supports_open_batch(self) -> bool:
        """True where jobs can be added to a batch."""
        return self._resource.open_batches

    def get_results(self, batch_id: str, job_ids: list[str] | None = None) -> RemoteResults:
        """The results of a batch that was submitted before, perhaps by another process.

        Args:
            batch_id: the batch's id.
            job_ids: which of its jobs, and in what order; all by default, in the order of their creation.

        Raises:
            TaskNotFound: this resource knows no such batch.
            RuntimeError: the batch has no such job.
        """
        self._resource.task_info(batch_id)
        return RemoteResults(batch_id, self, job_ids=job_ids)

    def cancel_batch(self, batch_id: str) -> None:
        """Cancel all jobs of a batch that have not ended, and close it."""
        self._resource.task_stop(batch_id)

    def cancel_jobs(self, batch_id: str, job_ids: Collection[str]) -> None:
        """Cancel some jobs of a batch; those that have ended are left as they are."""
        self._resource.batch_cancel_jobs(batch_id, job_ids)

    def get_batch_logs(self, batch_id: str) -> str:
        """What the device or emulator wrote while it ran the batch, empty when it wrote nothing.

        Raises:
            UnsupportedFunction: this resource keeps no logs.
        """
        return self._resource.task_logs(batch_id)

    def _fetch_result(self, batch_id: str, job_ids: list[str] | None) -> tuple[Results, ...]:
        infos = {info.id: info for info in self._resource.batch_jobs(batch_id)}
        wanted = list(infos) if job_ids is None else job_ids
        try:
            for job_id in wanted:
                infos[job_id].raise_unless_completed(self._resource.name)
            return tuple(self._progress.result(batch_id, job_id) for job_id in wanted)
        except QRMIError as error:
            if not isinstance(error, TaskNotReady):
                self._tell(batch_id, error)
            raise RemoteResultsError(f"batch {batch_id}: {error}") from error

    def _query_job_progress(self, batch_id: str) -> Mapping[str, tuple[JobStatus, Results | None]]:
        return {info.id: (job_status(info), self._result_of(batch_id, info)) for info in self._progress.jobs(batch_id)}

    def _result_of(self, batch_id: str, info: TaskInfo) -> Results | None:
        if info.status is TaskStatus.COMPLETED:
            return self._progress.result(batch_id, info.id)
        if info.status is TaskStatus.FAILED:
            try:
                info.raise_unless_completed(self._resource.name)
            except TaskFailed as error:
                self._tell(batch_id, error)
        return None

    def _tell(self, batch_id: str, error: QRMIError) -> None:
        """Log why there is no result, once: Pulser and qoolqit raise errors of their own, without the reason."""
        text = f"batch {batch_id}: {error}"
        if text not in self._told:
            self._told.add(text)
            _log.error("%s", text)

    def _get_batch_status(self, batch_id: str) -> BatchStatus:
        return batch_status(self._resource.task_info(batch_id))

    def _get_job_ids(self, batch_id: str) -> list[str]:
        return self._resource.batch_job_ids(batch_id)

    def _close_batch(self, batch_id: str) -> None:
        self._resource.batch_close(batch_id)

    def __repr__(self) -> str:
        return f"QRMIConnection({self._resource.name!r})"


def _fingerprint(batch: PulserBatch) -> bytes:
    parts = (batch.sequence, (batch.device_type or "").encode(), batch.configuration or b"")
    return hashlib.sha256(b"\0".join(parts)).digest()
