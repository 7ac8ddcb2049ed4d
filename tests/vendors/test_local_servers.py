# SPDX-License-Identifier: Apache-2.0
"""What servers of vendors' APIs do for `qrmi run`: several simulators behind one, and answers held for who waits."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from ibm_compute_case import sampler_payload
from pasqal_cloud_case import rabi
from vendor_site import site as case_site

from qrmi_core import JobContext, UnsupportedFunction
from qrmi_core.discovery import driver
from qrmi_core.engines import EngineResource
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.dialects.iam import CRN, GRANT
from qrmi_core.gateway.dialects.offered import Offered
from qrmi_core.gateway.emulator import Emulator

OPTIONS = DialectOptions(key="secret", any_account=True)


def emulator(dialect: str, engines: list[EngineResource]) -> Emulator:
    devices = {engine.name: Device(engine) for engine in engines}
    offered = Offered(devices, {engine.name: engine.imitates() for engine in engines})
    return Emulator(dialect, offered.first, options=OPTIONS, offered=offered)


def engine(kind: str, name: str, **values: str) -> EngineResource:
    found = driver(kind).from_environment(name, values, JobContext())
    assert isinstance(found, EngineResource)
    return found


@contextlib.contextmanager
def signed_in(url: str) -> Iterator[requests.Session]:
    """A client of IBM's cloud with a token."""
    with requests.Session() as session:
        session.trust_env = False
        form = {"grant_type": GRANT, "apikey": "secret"}
        token = session.post(f"{url}/identity/token", data=form, timeout=30).json()["access_token"]
        session.headers.update({"Authorization": f"Bearer {token}", "Service-CRN": CRN, "X-Url": url})
        yield session


@pytest.fixture(scope="module")
def ibm() -> Iterator[requests.Session]:
    engines = [engine("aer-simulator", name, QRMI_AER_SNAPSHOT="manila") for name in ("left", "right")]
    engines.append(engine("aer-simulator", "third", QRMI_AER_SNAPSHOT="vigo"))
    with emulator("ibm-quantum-compute-service", engines) as server, signed_in(server.url) as session:
        yield session


def call(session: requests.Session, method: str, path: str, **body: Any) -> tuple[int, Any]:
    answer = session.request(method, f"{session.headers['X-Url']!s}{path}", json=body or None, timeout=30)
    return answer.status_code, answer.json()


def test_a_list_has_no_name_that_two_could_have(ibm: requests.Session) -> None:
    _, answer = call(ibm, "GET", "/api/v1/backends")
    assert [each["name"] for each in answer["devices"]] == ["left", "right", "third", "ibmq_vigo"]


def test_a_backend_is_described_under_the_name_that_was_asked_for(ibm: requests.Session) -> None:
    for name in ("third", "ibmq_vigo"):
        assert call(ibm, "GET", f"/api/v1/backends/{name}/configuration")[1]["backend_name"] == name
        assert call(ibm, "GET", f"/api/v1/backends/{name}/properties")[1]["backend_name"] == name


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/backends/ibmq_manila/configuration", {}),
        ("POST", "/api/v1/sessions", {"mode": "batch", "backend": "ibmq_manila"}),
        ("POST", "/api/v1/jobs", {"program_id": "sampler", "backend": "ibmq_manila", "params": {"pubs": []}}),
    ],
)
def test_a_name_that_two_could_have_is_refused(
    ibm: requests.Session, method: str, path: str, body: dict[str, Any]
) -> None:
    status, answer = call(ibm, method, path, **body)
    assert status == 400
    assert "have the device ibmq_manila, name one of them: left, right" in answer["errors"][0]["message"]


def test_the_instance_is_told_to_whom_the_token_was_given_only(ibm: requests.Session) -> None:
    (item,) = call(ibm, "POST", "/v3/resources/search", query="service_name:quantum-computing")[1]["items"]
    assert item["crn"] == CRN
    assert call(ibm, "GET", f"/api/v1/{item['service_plan_unique_id']}")[0] == 200
    with requests.Session() as stranger:
        stranger.trust_env = False
        stranger.headers["X-Url"] = ibm.headers["X-Url"]
        assert call(stranger, "POST", "/v3/resources/search", query="any")[0] == 401
        assert call(stranger, "GET", "/api/v1/emulator-plan")[0] == 401


def test_two_qpus_of_pasqal() -> None:
    engines = [
        engine("pulser-simulator", "left"),
        engine("pulser-simulator", "right", QRMI_PULSER_DEVICE="DigitalAnalogDevice"),
    ]
    with emulator("pasqal-cloud", engines) as server, requests.Session() as session:
        session.trust_env = False
        session.headers.update({"Authorization": "Bearer secret", "X-Url": server.url})
        _, specs = call(session, "GET", "/core-fast/api/v1/devices/specs")
        assert list(specs["data"]) == ["left", "right", "AnalogDevice", "DigitalAnalogDevice"]
        assert {name: json.loads(text)["name"] for name, text in specs["data"].items()} == {
            name: name for name in specs["data"]
        }
        body = {"project_id": "any", "jobs": [{"runs": 1}]}
        sequence = json.dumps({"device": {"name": "FRESNEL"}})
        status, answer = call(session, "POST", "/core-fast/api/v1/batches", sequence_builder=sequence, **body)
        assert (status, "the device FRESNEL, name one of them: left, right" in answer["message"]) == (400, True)
        status, answer = call(
            session, "POST", "/core-fast/api/v1/batches", sequence_builder=sequence, device_type="right", **body
        )
        assert status == 400


def test_who_waits_for_a_job_of_ibms_is_answered_at_its_end_or_after_a_second() -> None:
    with (
        case_site(
            "ibm-quantum-compute-service",
            engine="aer_ideal",
            options=DialectOptions(key="secret", hold=20.0),
            service_time=lambda: 3.0,
        ) as running,
        signed_in(running.emulator.url) as session,
    ):
        payload = sampler_payload(5)
        job = {"program_id": "sampler", "backend": "aer_ideal", "params": json.loads(payload.parameters)}
        first, second = (call(session, "POST", "/api/v1/jobs", **job)[1]["id"] for _ in range(2))
        states = [call(session, "GET", f"/api/v1/jobs/{each}")[1]["status"] for each in (first, second) * 3]
        assert set(states) <= {"Queued", "Running"}
        asked = 1
        while call(session, "GET", f"/api/v1/jobs/{second}")[1]["status"] != "Completed":
            asked += 1
        assert asked < 20


def test_who_waits_for_a_batch_of_pasqals_is_answered_at_its_end() -> None:
    with (
        case_site("pasqal-cloud", options=DialectOptions(key="secret", hold=20.0)) as running,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.headers.update({"Authorization": "Bearer secret", "X-Url": running.emulator.url})
        body = {"jobs": [{"runs": 5}], "project_id": running.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"]}
        sequence = rabi(0.0).to_abstract_repr()
        _, made = call(session, "POST", "/core-fast/api/v1/batches", sequence_builder=sequence, **body)
        _, told = call(session, "GET", f"/core-fast/api/v1/batches/{made['data']['id']}/status")
        assert told["data"]["status"] == "DONE"


def test_other_apis_have_one_device() -> None:
    with pytest.raises(UnsupportedFunction, match="stands before one device only"):
        emulator("iqm-server", [engine("iqm-simulator", "crystal", QRMI_IQM_LATTICE="2x2")])
