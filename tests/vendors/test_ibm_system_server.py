# SPDX-License-Identifier: Apache-2.0
"""The server of IBM's machines on premises, asked directly: what it has, what it refuses, and in which form."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from ibm_system_case import SystemSite, start

from qrmi_core import polling
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.dialects.iam import CRN

GONE = "http://127.0.0.1:9/bucket/key?X-Amz-Signature=secret"


@pytest.fixture(scope="module")
def site() -> Iterator[SystemSite]:
    with start(service_time=lambda: 60.0) as running:
        yield running


class Caller:
    """Somebody with a token."""

    def __init__(self, site: SystemSite) -> None:
        self.url = site.emulator.url
        form = {
            "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
            "apikey": site.environment["QRMI_IBM_QS_IAM_APIKEY"],
        }
        self.token = requests.post(f"{self.url}/identity/token", data=form, timeout=10).json()["access_token"]

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        own = {"Authorization": f"Bearer {self.token}", "Service-CRN": CRN}
        return requests.request(method, f"{self.url}{path}", headers={**own, **(headers or {})}, timeout=10, **more)


@pytest.fixture(scope="module")
def caller(site: SystemSite) -> Caller:
    return Caller(site)


def job(**changed: Any) -> dict[str, Any]:
    place = {"type": "s3_compatible", "presigned_url": GONE}
    body = {
        "id": str(uuid.uuid4()),
        "backend": "aer_ideal",
        "program_id": "sampler",
        "log_level": "info",
        "timeout_secs": 100,
        "storage": {"input": place, "results": place, "logs": place},
    }
    return body | changed


def test_the_form_of_an_error(caller: Caller) -> None:
    answer = caller.ask("GET", "/v1/jobs/nothing")
    body = answer.json()
    assert (answer.status_code, body["status_code"]) == (404, 404)
    assert body["title"] == "Job not found. Job ID: nothing"
    assert uuid.UUID(body["trace"])
    (error,) = body["errors"]
    assert error["code"] == "1291"
    assert error["message"] == body["title"]
    assert error["more_info"].startswith("https://")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": ""},
        {"Service-CRN": "crn:other"},
        {"Service-CRN": ""},
    ],
)
@pytest.mark.parametrize("path", ["/v1/backends", "/v1/jobs", "/v1/backends/aer_ideal/lanes"])
def test_strangers_are_refused(caller: Caller, headers: dict[str, str], path: str) -> None:
    answer = caller.ask("GET", path, headers)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "1201"


def test_versions_are_told_to_everybody(caller: Caller) -> None:
    assert requests.get(f"{caller.url}/version", timeout=10).json() == {"version": "1.0.0"}
    assert requests.get(f"{caller.url}/versions", timeout=10).json() == {"versions": ["2025-08-01"]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sessions", 404),
        ("GET", "/v1/backends/aer_ideal/defaults", 404),
        ("GET", "/v1/jobs?status=Running", 400),
        ("GET", "/v1/backends/other", 404),
        ("GET", "/v1/backends/other/configuration", 404),
        ("GET", "/v1/backends/aer_ideal/properties", 404),
        ("POST", "/v1/jobs/nothing/cancel", 404),
        ("DELETE", "/v1/jobs/nothing", 404),
        ("PUT", "/v1/jobs", 405),
    ],
)
def test_what_there_is_not(caller: Caller, method: str, path: str, status: int) -> None:
    answer = caller.ask(method, path)
    assert answer.status_code == status
    assert answer.json()["status_code"] == status


PLACE = {"type": "s3_compatible", "presigned_url": GONE}


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "not a uuid"},
        {"id": 7},
        {"id": ["x"]},
        {"program_id": "noise-learner"},
        {"program_id": {}},
        {"log_level": "loud"},
        {"timeout_secs": None},
        {"timeout_secs": 0},
        {"timeout_secs": True},
        {"timeout_secs": "100"},
        {"storage": {}},
        {"storage": {"input": PLACE, "results": PLACE}},
        {"storage": {"input": [], "results": PLACE, "logs": PLACE}},
        {"storage": {"input": {**PLACE, "type": "disk"}, "results": PLACE, "logs": PLACE}},
        {"storage": {"input": {**PLACE, "type": []}, "results": PLACE, "logs": PLACE}},
        {"storage": {"input": {**PLACE, "presigned_url": "file:///etc/passwd"}, "results": PLACE, "logs": PLACE}},
        {"storage": {"input": {**PLACE, "presigned_url": 7}, "results": PLACE, "logs": PLACE}},
        {"session_id": "one"},
    ],
)
def test_what_is_no_job(site: SystemSite, caller: Caller, changed: dict[str, Any]) -> None:
    answer = caller.ask("POST", "/v1/jobs", json=job(**changed))
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"text"', b"\xff"])
def test_what_is_no_object(caller: Caller, body: bytes) -> None:
    assert caller.ask("POST", "/v1/jobs", data=body).status_code == 400


def test_a_job_without_a_limit_is_refused(site: SystemSite, caller: Caller) -> None:
    body = job()
    del body["timeout_secs"]
    answer = caller.ask("POST", "/v1/jobs", json=body)
    assert answer.status_code == 400
    assert "timeout_secs" in answer.json()["title"]


def test_a_backend_that_is_not_there(site: SystemSite, caller: Caller) -> None:
    answer = caller.ask("POST", "/v1/jobs", json=job(backend="ibm_nowhere"))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "1216")


def test_a_job_from_submission_to_deletion(site: SystemSite, caller: Caller) -> None:
    body = job()
    path = f"/v1/jobs/{body['id']}"
    taken = caller.ask("POST", "/v1/jobs", json=body)
    assert (taken.status_code, taken.content) == (204, b"")
    told = caller.ask("GET", path).json()
    assert {key: told[key] for key in body} == body
    assert told["status"] == "Running"
    assert told["created_time"].endswith("Z")
    assert body["id"] in [each["id"] for each in caller.ask("GET", "/v1/jobs").json()["jobs"]]

    assert code(caller.ask("POST", "/v1/jobs", json=body)) == (409, "1231")
    assert code(caller.ask("DELETE", path)) == (409, "1337")
    assert caller.ask("POST", f"{path}/cancel").status_code == 204
    assert caller.ask("GET", path).json()["status"] == "Cancelled"
    assert code(caller.ask("POST", f"{path}/cancel")) == (409, "1306")
    assert caller.ask("DELETE", path).status_code == 204
    assert code(caller.ask("GET", path)) == (404, "1291")


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def test_a_job_whose_input_cannot_be_fetched_fails_without_the_signature(site: SystemSite, caller: Caller) -> None:
    body = job()
    body["storage"] = {kind: {**PLACE, "presigned_url": f"{site.s3.url}/no/thing?signature=secret"} for kind in KINDS}
    caller.ask("POST", "/v1/jobs", json=body)
    jobs = site.emulator.dialect.jobs
    assert polling.wait_until(lambda: jobs[body["id"]].status != "Running", timeout=30)
    told = caller.ask("GET", f"/v1/jobs/{body['id']}").json()
    assert (told["status"], told["reason_code"]) == ("Failed", 1517)
    assert told["reason_message"] == f"GET {site.s3.url}/no/thing: 403 Forbidden"
    assert told["reason_solution"]
    assert told["usage"] == {"quantum_nanoseconds": 0}


KINDS = ("input", "results", "logs")


def test_lanes_are_counted() -> None:
    with start(lanes=2, service_time=lambda: 60.0) as site:
        caller = Caller(site)
        sent = [caller.ask("POST", "/v1/jobs", json=job()) for _ in range(3)]
        assert [answer.status_code for answer in sent] == [204, 204, 429]
        assert code(sent[2]) == (429, "1232")
        lanes = caller.ask("GET", "/v1/backends/aer_ideal/lanes").json()
        assert lanes["hpc_workload_manager"] == {"lanes": 2}


def test_a_reserved_device_is_locked_and_takes_nothing(site: SystemSite, caller: Caller) -> None:
    site.emulator.dialect.reserved = True
    try:
        assert caller.ask("GET", "/v1/backends/aer_ideal").json()["locked"] is True
        assert code(caller.ask("POST", "/v1/jobs", json=job())) == (423, "1233")
    finally:
        site.emulator.dialect.reserved = False


def test_a_new_job_appears_in_lists_late_where_that_is_asked_for() -> None:
    with start(options=DialectOptions(list_delay=3600.0), service_time=lambda: 60.0) as site:
        caller, body = Caller(site), job()
        assert caller.ask("POST", "/v1/jobs", json=body).status_code == 204
        assert caller.ask("GET", "/v1/jobs").json() == {"jobs": []}
        assert caller.ask("GET", f"/v1/jobs/{body['id']}").status_code == 200
