# SPDX-License-Identifier: Apache-2.0
"""What no client of Pasqal's cloud sends is refused by our server, and never breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pasqal_cloud_case import CASE, batch
from vendor_site import Site

SEQUENCE = batch(1).sequence.decode()


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


def ask(server: Site, method: str, path: str, token: str | None = None, **more: Any) -> requests.Response:
    authorization = {"Authorization": f"Bearer {token or server.emulator.dialect.options.key}"}
    url = f"{server.emulator.url}/core-fast/api{path}"
    return requests.request(method, url, headers={**authorization, **more.pop("headers", {})}, timeout=30, **more)


def refused(answer: requests.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["status"], body["code"]) == ("fail", str(status))
    assert text in body["data"]["description"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"jobs": {}}, "jobs of a batch cannot be {}"),
        ({"jobs": []}, "a batch that is not open needs jobs"),
        ({"jobs": [1]}, "job 0 is an object"),
        ({"jobs": [{"runs": True}]}, "runs is a whole number of at least 1"),
        ({"jobs": [{"runs": 0}]}, "runs is a whole number of at least 1"),
        ({"jobs": [{"runs": 10**30}]}, "runs were asked for"),
        ({"jobs": [{"runs": 1, "shots": 1}]}, "job 0 has no field shots"),
        ({"jobs": [{"runs": 1, "sequence": SEQUENCE, "variables": {"a": 1}}]}, "a sequence of its own and variables"),
        ({"sequence_builder": None}, "job 0 has no sequence and neither has the batch"),
        ({"sequence_builder": "[" * 100_000}, "is not a serialised Pulser sequence"),
        ({"sequence_builder": "\ud800"}, "no text that can be written in UTF-8"),
        ({"sequence_builder": SEQUENCE.replace('"FRESNEL"', '"Other"')}, "there is no device type Other"),
        ({"sequence_builder": SEQUENCE.replace('"FRESNEL"', '"Other"'), "device_type": "FRESNEL"}, "not for FRESNEL"),
        ({"tags": [1]}, "tags are texts"),
        ({"priority": 1}, "a batch has no field priority"),
        ({"device_type": "EMU_TN"}, "there is no device type EMU_TN; there are FRESNEL, EMU_FREE"),
    ],
)
def test_batches(server: Site, changed: dict[str, Any], text: str) -> None:
    project = server.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"]
    body = {"sequence_builder": SEQUENCE, "jobs": [{"runs": 1}], "project_id": project, **changed}
    before = server.emulator.device.runs
    refused(ask(server, "POST", "/v1/batches", json=body), 400, text)
    assert server.emulator.device.runs == before


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 200_000])
def test_bodies_that_are_none(server: Site, data: bytes) -> None:
    refused(ask(server, "POST", "/v1/batches", data=data), 400, "")


def test_bodies_that_are_packed_wrongly(server: Site) -> None:
    refused(ask(server, "POST", "/v1/batches", data=b"{}", headers={"Content-Encoding": "gzip"}), 400, "unpacked")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/jobs?offset=-1",
        "/v2/jobs?limit=101",
        "/v1/batches?open=maybe",
        "/v1/batches?start_date=yesterday",
        "/v1/batches?color=red",
        "/v2/jobs?tag=x",
        "/v1/devices?status=UP",
    ],
)
def test_filters(server: Site, path: str) -> None:
    project = server.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"]
    body = {"sequence_builder": SEQUENCE, "jobs": [{"runs": 1}], "project_id": project}
    assert ask(server, "POST", "/v1/batches", data=json.dumps(body)).status_code == 200
    refused(ask(server, "GET", path), 400, "")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/workloads"), ("POST", "/v1/cudaq/job"), ("GET", "/v2/batches/none"), ("GET", "/v2/jobs/none")],
)
def test_what_is_not_there(server: Site, method: str, path: str) -> None:
    refused(ask(server, method, path), 404, "")


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30"])
def test_tokens(server: Site, token: str) -> None:
    refused(ask(server, "GET", "/v2/jobs", token=token), 401, "Invalid or expired token")


def test_the_project_of_others(server: Site) -> None:
    body = {"sequence_builder": SEQUENCE, "jobs": [{"runs": 1}], "project_id": "theirs"}
    refused(ask(server, "POST", "/v1/batches", json=body), 403, "no member of a project theirs")
