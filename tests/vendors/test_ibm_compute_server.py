# SPDX-License-Identifier: Apache-2.0
"""The server of IBM's cloud has what the vendor's clients use, and nothing else; no request breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ibm_compute_case import CASE
from vendor_site import Site

from qrmi_core import AuthenticationFailed, VendorError
from qrmi_core.drivers.iam import iam_token
from qrmi_core.drivers.ibm_errors import ibm_told
from qrmi_core.gateway.dialects.iam import CRN
from qrmi_core.http import HttpClient
from qrmi_core.http_settings import HttpSettings
from qrmi_core.polling import wait_until

SETTINGS = HttpSettings(deadline=2.0)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture
def api(site: Site) -> HttpClient:
    token = iam_token("qpu", site.environment, SETTINGS, prefix="QRMI_IBM_QCS")
    base = site.environment["QRMI_IBM_QCS_ENDPOINT"]
    return HttpClient(base, SETTINGS, resource="qpu", token=token, headers={"Service-CRN": CRN}, told=ibm_told)


def job(**fields: Any) -> dict[str, Any]:
    parameters = json.loads(CASE.payload(3).parameters)
    return {"program_id": "sampler", "backend": "aer_ideal", "params": parameters} | fields


def refused(api: HttpClient, method: str, path: str, body: Any = None, **more: Any) -> tuple[int | None, str]:
    with pytest.raises(VendorError) as caught:
        api.change(method, path, body=body, **more)
    return caught.value.http_status, str(caught.value)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/x/interim"),
        ("GET", "/workloads"),
        ("GET", "/versions"),
        ("POST", "/backends"),
        ("GET", "/backends/aer_ideal/defaults"),
        ("GET", "/jobs/nothing"),
        ("POST", "/jobs/nothing/cancel"),
        ("GET", "/jobs/nothing/results"),
        ("GET", "/jobs/nothing/logs"),
        ("GET", "/sessions/nothing"),
        ("DELETE", "/sessions/nothing/close"),
        ("GET", "/backends/other/status"),
    ],
)
def test_what_is_not_there(api: HttpClient, method: str, path: str) -> None:
    assert refused(api, method, path)[0] in {404, 405}


@pytest.mark.parametrize(
    "query",
    [
        {"tag": "x"},
        {"limit": "201"},
        {"limit": "0"},
        {"limit": "many"},
        {"offset": "-1"},
        {"created_after": "yesterday"},
        {"status": "Queued"},
    ],
)
def test_filters_that_the_vendor_does_not_know(api: HttpClient, site: Site, query: dict[str, str]) -> None:
    api.submit("/jobs", body=job())
    with pytest.raises(VendorError, match="answered 400"):
        api.get("/jobs", query=query)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (job(zzz=1), 400),
        (job(backend="other"), 404),
        (job(backend=None), 404),
        (job(program_id="vqe"), 404),
        (job(program_id=["sampler"]), 404),
        (job(program_id="noise-learner", params={"circuits": [], "version": 2}), 400),
        (job(params=None), 400),
        (job(params=[1]), 400),
        (job(params={"pubs": [], "options": []}), 400),
        (job(params={"pubs": 3}), 400),
        (job(cost="long"), 400),
        (job(cost=0), 400),
        (job(tags="tag"), 400),
        (job(tags=[1]), 400),
        (job(tags=["x"] * 9), 400),
        (job(tags=["x" * 87]), 400),
        (job(log_level=3), 400),
        (job(private="yes"), 400),
        (job(session_id=5), 400),
        (job(session_id="nothing"), 404),
        ([], 400),
        ("text", 400),
        (None, 400),
    ],
)
def test_jobs_that_are_refused(api: HttpClient, site: Site, body: Any, status: int) -> None:
    runs = site.emulator.device.runs
    data = None if body is not None else b"{"
    assert refused(api, "POST", "/jobs", body, data=data)[0] == status
    assert site.emulator.device.runs == runs


@pytest.mark.parametrize(("depth", "taken"), [(900, True), (100_000, False)])
def test_a_body_that_is_nested_deeply_breaks_nothing(api: HttpClient, depth: int, taken: bool) -> None:
    body = json.dumps(job(params={"pubs": "HERE"})).replace('"HERE"', "[" * depth + "]" * depth).encode()
    if taken:
        made = api.submit("/jobs", data=body).json()["id"]
        assert wait_until(lambda: api.get_json(f"/jobs/{made}")["status"] == "Failed", timeout=60)
    else:
        assert refused(api, "POST", "/jobs", data=body)[0] == 400
    assert api.get_json("/backends")["devices"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mode": "dedicated", "backend": "aer_ideal", "zzz": 1}, 400),
        ({"mode": "eternal", "backend": "aer_ideal"}, 400),
        ({"mode": ["batch"], "backend": "aer_ideal"}, 400),
        ({"mode": "batch", "backend": "other"}, 404),
        ({"mode": "batch", "backend": "aer_ideal", "max_ttl": 28801}, 400),
        ({"mode": "batch", "backend": "aer_ideal", "max_ttl": True}, 400),
        ([], 400),
    ],
)
def test_sessions_that_are_refused(api: HttpClient, body: Any, status: int) -> None:
    assert refused(api, "POST", "/sessions", body)[0] == status


@pytest.mark.parametrize("body", [{}, {"accepting_jobs": "no"}, {"accepting_jobs": False, "x": 1}, [], 3])
def test_changes_of_a_session_that_are_refused(api: HttpClient, body: Any) -> None:
    session = api.submit("/sessions", body={"mode": "batch", "backend": "aer_ideal"}).json()["id"]
    assert refused(api, "PATCH", f"/sessions/{session}", body)[0] == 400


@pytest.mark.parametrize("headers", [{"Service-CRN": "crn:v1:other"}, {"Service-CRN": ""}])
def test_the_instance_is_checked(api: HttpClient, headers: dict[str, str]) -> None:
    with pytest.raises(AuthenticationFailed, match=r"401, code 1201: .*Service-CRN"):
        api.get("/backends", headers=headers)


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer x", "Bearer a.b.c", "Bearer .", "apikey k", "Bearer ä.é.ü"]
)
def test_the_token_is_checked(site: Site, authorization: str | None) -> None:
    headers = {"Service-CRN": CRN, **({"Authorization": authorization.encode()} if authorization else {})}
    bare = HttpClient(site.environment["QRMI_IBM_QCS_ENDPOINT"], SETTINGS, resource="qpu", headers=headers)  # type: ignore[arg-type]
    for path in ("/backends", "/jobs", "/instances/usage"):
        with pytest.raises(AuthenticationFailed, match="401"):
            bare.get(path)


@pytest.mark.parametrize("form", [b"", b"grant_type=password&apikey=x", b"\xff\xfe", b"apikey=x"])
def test_forms_that_get_no_token(site: Site, form: bytes) -> None:
    with pytest.raises(VendorError) as caught:
        HttpClient(site.emulator.url, SETTINGS, resource="qpu").change("POST", "/identity/token", data=form)
    assert caught.value.http_status == 400


def test_a_job_is_deleted_once_it_has_ended(api: HttpClient) -> None:
    made = api.submit("/jobs", body=job(tags=["a", "b"])).json()["id"]
    path = f"/jobs/{made}"
    assert wait_until(lambda: api.get_json(path)["status"] == "Completed", timeout=60)
    assert api.get_json(path)["params"] == job()["params"]
    assert "params" not in api.get_json(path, query={"exclude_params": "true"})
    assert [each["id"] for each in api.get_json("/jobs", query={"tags": ["a", "b"]})["jobs"]] == [made]
    assert api.get_json("/jobs", query={"tags": ["a", "c"]})["jobs"] == []
    api.change("DELETE", path)
    assert refused(api, "DELETE", path)[0] == 404


def test_both_roots_serve_the_same(api: HttpClient, site: Site) -> None:
    token = iam_token("qpu", site.environment, SETTINGS, prefix="QRMI_IBM_QCS")
    base = f"{site.emulator.url}/experimental/api/v1"
    other = HttpClient(base, SETTINGS, resource="qpu", token=token, headers={"Service-CRN": CRN})
    made = other.submit("/jobs", body=job()).json()["id"]
    assert api.get_json(f"/jobs/{made}")["id"] == made
