# SPDX-License-Identifier: Apache-2.0
"""Batches on the machinery of engines: several jobs, open ones, cancelled ones."""

from __future__ import annotations

import json
import threading

import pytest
from engine_watching import batch
from tiny_engine import TinyEngine

from qrmi_core import InputError, PulserJob, TaskNotFound, TaskStatus


def test_a_batch_has_a_job_for_each_of_its_jobs(tiny: TinyEngine) -> None:
    task = tiny.submit(batch({"number": 1}, {"fail": "no"}, {"number": 3}, shared=7))
    assert task.wait(timeout=20).status is TaskStatus.COMPLETED
    jobs = tiny.batch_jobs(task.id)
    assert [job.status for job in jobs] == [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.COMPLETED]
    assert jobs[1].reason == "no"
    first = json.loads(tiny.batch_job_output(task.id, jobs[0].id))
    assert (first["number"], first["shared"], first["runs"]) == (1, 7, 5)
    whole = json.loads(task.result().data)
    assert [job["status"] for job in whole["jobs"]] == ["completed", "failed", "completed"]
    with pytest.raises(TaskNotFound, match="has no job"):
        tiny.batch_job_output(task.id, f"{task.id}.9")


def test_an_open_batch_takes_jobs_until_it_is_closed(tiny: TinyEngine) -> None:
    task = tiny.submit(batch(is_open=True))
    assert tiny.batch_is_open(task.id)
    assert task.status() is TaskStatus.QUEUED
    (first,) = tiny.batch_add(task.id, [PulserJob(1)])
    assert tiny.batch_wait(task.id, [first], timeout=20)[first].status is TaskStatus.COMPLETED
    assert task.status() is TaskStatus.RUNNING
    closer = threading.Thread(target=tiny.batch_close, args=(task.id,))
    waited: list[TaskStatus] = []
    waiter = threading.Thread(target=lambda: waited.append(task.wait(timeout=20).status))
    waiter.start()
    closer.start()
    waiter.join(20)
    closer.join(20)
    assert waited == [TaskStatus.COMPLETED]
    tiny.batch_close(task.id)
    with pytest.raises(InputError, match="is closed: open a new one"):
        tiny.batch_add(task.id, [PulserJob(1)])


def test_single_jobs_of_a_batch_can_be_cancelled(tiny: TinyEngine) -> None:
    task = tiny.submit(batch({"sleep": 60}, {"sleep": 60}, {"number": 1}))
    jobs = [job.id for job in tiny.batch_jobs(task.id)]
    tiny.batch_cancel_jobs(task.id, jobs[:2])
    assert task.wait(timeout=20).status is TaskStatus.COMPLETED
    assert [job.status for job in tiny.batch_jobs(task.id)] == [TaskStatus.CANCELLED] * 2 + [TaskStatus.COMPLETED]


def test_cancelling_an_open_batch_closes_it(tiny: TinyEngine) -> None:
    task = tiny.submit(batch(is_open=True))
    tiny.batch_add(task.id, [PulserJob(1, b'{"sleep": 60}')])
    task.cancel()
    assert not tiny.batch_is_open(task.id)
    assert task.status() is TaskStatus.CANCELLED


def test_an_id_that_is_nearly_a_jobs_is_none(tiny: TinyEngine) -> None:
    task = tiny.submit(batch({"number": 1}))
    for job_id in (f"{task.id}.01", f"{task.id}.\N{SUPERSCRIPT ONE}", f"{task.id}.", task.id):
        with pytest.raises(TaskNotFound, match="has no job"):
            tiny.batch_cancel_jobs(task.id, [job_id])


def test_a_stopped_batch_takes_no_more_jobs(tiny: TinyEngine) -> None:
    task = tiny.submit(batch(is_open=True))
    task.cancel()
    with pytest.raises(InputError, match="is closed"):
        tiny.batch_add(task.id, [PulserJob(1)])
