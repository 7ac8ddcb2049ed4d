# SPDX-License-Identifier: Apache-2.0
"""Drivers in front of something that answers every request with JSON that no vendor sends, as login pages do."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import felis_case
import iqm_case
import pasqal_cloud_case
import pasqal_local_case
import pytest
from aiohttp import web
from munge_daemon import Munged, libraries, munged

from qrmi_core import JobContext, PulserJob, QRMIError, QuantumResource, ResultError, SubmissionUncertain
from qrmi_core.discovery import driver

sys.path.append(str(Path(__file__).parents[1] / "unit" / "http"))

from small_server import Server

QUICK = {"QRMI_HTTP_DEADLINE": "0.2", "QRMI_MIN_POLL": "0"}
KEY = base64.b64encode(b"someone:password").decode()
NOTHING = ["[]", "null", '"sign in"', "7", "[null]", "{}"]
NO_DATA = ["null", "[null]", '"sign in"', "[[]]"]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    libraries()
    with munged() as both:
        yield both


@contextmanager
def answering(text: str) -> Iterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    with Server([web.route("*", "/{path:.*}", answer)]) as server:
        yield server.url


def pasqal(url: str) -> Any:
    block = {
        "QRMI_PASQAL_CLOUD_BASE_URL": url,
        "QRMI_PASQAL_CLOUD_AUTH_TOKEN": "token",
        "QRMI_PASQAL_CLOUD_PROJECT_ID": "project",
        "QRMI_DEVICE": "FRESNEL",
    }
    return made("pasqal-cloud", block)


def test_the_id_of_a_batch_leads_nowhere_else() -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.Response(status=404)

    with Server([web.route("*", "/{path:.*}", answer)]) as server:
        resource = pasqal(server.url)
        for call in reads(resource, "../../v1/users/me?x=#", "task_stop", "task_info", "batch_close", "batch_is_open"):
            with pytest.raises(QRMIError):
                call()
    assert paths
    assert all("batches/..%2F..%2Fv1%2Fusers%2Fme%3Fx%3D%23" in path or "?batch_id=" in path for path in paths), paths


def made(kind: str, block: dict[str, str], context: JobContext | None = None) -> Any:
    return driver(kind).from_environment("qpu", {**QUICK, **block}, context or JobContext())


def refused(call: Callable[[], object]) -> None:
    with pytest.raises((ResultError, SubmissionUncertain), match=r"promises|expected|not with a list"):
        call()


def reads(resource: QuantumResource, task: str, *names: str) -> list[Callable[[], object]]:
    return [lambda name=name: getattr(resource, name)(task) for name in names]  # type: ignore[misc]


@pytest.mark.parametrize("text", [*NOTHING, *(f'{{"data": {data}}}' for data in NO_DATA)])
def test_pasqal_cloud(text: str) -> None:
    with answering(text) as url:
        resource = pasqal(url)
        names = ("task_info", "task_output", "batch_jobs", "batch_is_open", "batch_close")
        calls = reads(resource, "1", *names)
        calls += [lambda: resource.batch_add("1", [PulserJob(1)]), lambda: resource.batch_job_output("1", "2")]
        calls += [lambda: resource.submit(pasqal_cloud_case.batch(1))]
        for call in calls:
            refused(call)
        refused(resource.status)


@pytest.mark.parametrize("job", [{"status": "DONE"}, {"id": "1"}, None, []])
def test_pasqal_cloud_jobs_that_are_none(job: Any) -> None:
    with answering(json.dumps({"data": [job]})) as url:
        for call in reads(pasqal(url), "1", "task_info", "batch_jobs"):
            refused(call)


@pytest.mark.parametrize("text", NOTHING)
def test_pasqal_local(text: str, daemons: Munged) -> None:
    with answering(text) as url:
        block = {"QRMI_WARDEN_URL": url, "QRMI_WARDEN_MUNGE_SOCKET": daemons.socket}
        resource = made("pasqal-local", block, JobContext("session", None, 0, "1"))
        calls = reads(resource, "1", "task_info", "task_output", "task_logs")
        for call in [*calls, resource.status, resource.target, resource.acquire]:
            refused(call)
        refused(lambda: resource.submit(pasqal_local_case.payload(1)))
        refused(lambda: resource._warden.submit(b"", 1, "session"))
        if text != "[]":
            refused(resource.task_ids)


@pytest.mark.parametrize("text", NOTHING)
def test_iqm(text: str) -> None:
    with answering(text) as url:
        block = {"QRMI_IQM_ISA_ENDPOINT": url, "QRMI_IQM_ISA_TOKEN": "token", "QRMI_DEVICE": "qpu"}
        resource = made("iqm-server", block)
        refused(lambda: resource.task_info("1"))
        refused(lambda: resource.task_wait(["1"]))
        refused(lambda: resource.submit(iqm_case.CASE.payload(1)))
        nameless = driver("iqm-server").from_environment("a_b", {**QUICK, **block, "QRMI_DEVICE": ""}, JobContext())
        refused(nameless.target)
        if text != "{}":
            for call in (resource.status, lambda: resource.task_logs("1"), lambda: resource._other_output("1")):
                refused(call)


@pytest.mark.parametrize("text", NOTHING)
def test_felis(text: str) -> None:
    with answering(text) as url:
        resource = made("alice-bob-felis", {"QRMI_AB_FELIS_BASE_ENDPOINT": url, "QRMI_AB_FELIS_API_KEY": KEY})
        refused(lambda: resource.submit(felis_case.CASE.payload(1)))
        if text != "{}":
            for call in reads(resource, "1", "task_info", "task_logs"):
                refused(call)
        if text != "[]":
            refused(resource.task_ids)
            refused(resource.target)


@pytest.mark.parametrize("events", [[None], [7], {"0": 1}, "none"])
def test_felis_jobs_with_events_that_are_none(events: Any) -> None:
    job = {"id": "1", "target": "QPU", "events": events, "errors": 7}
    with answering(json.dumps([job])) as url:
        resource = made("alice-bob-felis", {"QRMI_AB_FELIS_BASE_ENDPOINT": url, "QRMI_AB_FELIS_API_KEY": KEY})
        assert resource.task_ids() == ["1"]


def test_errors_that_are_no_objects_tell_their_status(daemons: Munged) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response([], status=400)

    with Server([web.route("*", "/{path:.*}", answer)]) as server:
        block = {"QRMI_WARDEN_URL": server.url, "QRMI_WARDEN_MUNGE_SOCKET": daemons.socket}
        for resource in (made("pasqal-local", block), pasqal(server.url)):
            with pytest.raises(QRMIError, match="answered 400"):
                resource.task_info("1")
