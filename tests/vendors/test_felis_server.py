# SPDX-License-Identifier: Apache-2.0
"""The server that speaks Felis's API: its routes, and what it refuses, in the vendor's own form."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from felis_case import CASE, qir
from vendor_site import Site, site

from qrmi_core import InputError
from qrmi_core.gateway.device import Device
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.polling import wait_until

SECONDS = 30.0
TARGET = "EMU:30Q:IDEAL"
JOB = {
    "inputDataFormat": "HUMAN_QIR",
    "outputDataFormat": "HISTOGRAM",
    "target": TARGET,
    "inputParams": {"nbShots": 20},
}
RUNNING = ["COMPILING", "COMPILED", "TRANSPILING", "TRANSPILED", "EXECUTING"]


class Client:
    """Requests with the right key."""

    def __init__(self, running: Site) -> None:
        self.url = running.environment["QRMI_AB_FELIS_BASE_ENDPOINT"]
        self.key = running.environment["QRMI_AB_FELIS_API_KEY"]

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Basic {self.key}", **more.pop("headers", {})}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=SECONDS, **more)

    def create(self) -> str:
        answer = self("POST", "/v1/jobs/", json=JOB)
        assert answer.status_code == 200
        job_id: str = answer.json()["id"]
        return job_id

    def send(self, job_id: str, program: bytes) -> requests.Response:
        return self("POST", f"/v1/jobs/{job_id}/input", files={"input": program})

    def events(self, job_id: str) -> list[str]:
        return [event["type"] for event in self("GET", f"/v1/jobs/{job_id}").json()["events"]]

    def until(self, job_id: str, word: str) -> None:
        assert wait_until(lambda: self.events(job_id)[-1] == word, timeout=SECONDS), self.events(job_id)


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with CASE.start() as running:
        yield running


@pytest.fixture
def client(running: Site) -> Client:
    return Client(running)


@pytest.fixture
def slow() -> Iterator[Client]:
    with CASE.start(service_time=lambda: 60.0) as running:
        yield Client(running)


def program(number: int) -> bytes:
    return CASE.payload(number).human_qir  # type: ignore[union-attr]


def test_a_job_from_its_creation_to_its_output(client: Client) -> None:
    created = client("POST", "/v1/jobs/", json=JOB).json()
    assert [event["type"] for event in created["events"]] == ["CREATED"]
    assert created | JOB == created
    assert created["errors"] == []
    assert {"id", "userName", "userId", "organizationName"} < created.keys()
    job = f"/v1/jobs/{created['id']}"
    assert client("GET", f"{job}/input").status_code == client("GET", f"{job}/transpiled").status_code == 409
    assert client("GET", f"{job}/metrics").json() == {"qpu_duration_ns": None, "simulation_duration_ns": None}
    answer = client.send(created["id"], program(5))
    assert (answer.status_code, answer.json()) == (200, None)
    client.until(created["id"], "SUCCEEDED")
    output = client("GET", f"{job}/output")
    assert output.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert output.text == "00000101,20\n"
    assert client("GET", f"{job}/input").content == client("GET", f"{job}/transpiled").content == program(5)
    assert client("GET", f"{job}/metrics").json()["simulation_duration_ns"] > 0
    memory = client("GET", f"{job}/memory")
    assert (memory.status_code, memory.json()["error"]["code"]) == (409, 409)


def test_events_grow_and_never_go_back(client: Client) -> None:
    job_id = client.create()
    seen = [client.events(job_id)]
    client.send(job_id, program(9))

    def has_ended() -> bool:
        seen.append(client.events(job_id))
        return seen[-1][-1] == "SUCCEEDED"

    assert wait_until(has_ended, timeout=SECONDS)
    assert seen[-1] == ["CREATED", "INPUT_READY", *RUNNING, "SUCCEEDED"]
    for earlier, later in itertools.pairwise(seen):
        assert later[: len(earlier)] == earlier
    times = [event["createdAt"] for event in client("GET", f"/v1/jobs/{job_id}").json()["events"]]
    assert times == sorted(times)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "text/plain"}])
def test_a_program_comes_with_or_without_its_type(client: Client, headers: dict[str, str]) -> None:
    job_id = client.create()
    kind = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = f'--b\r\nContent-Disposition: form-data; name="input"; filename="input"\r\n{kind}\r\n'.encode()
    body += program(3) + b"\r\n--b--\r\n"
    more = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client("POST", f"/v1/jobs/{job_id}/input", data=body, headers=more).status_code == 200
    client.until(job_id, "SUCCEEDED")
    assert client("GET", f"/v1/jobs/{job_id}/output").text == "00000011,20\n"


def test_a_program_that_is_refused_fails_its_job(client: Client) -> None:
    job_id = client.create()
    client.send(job_id, b"no program")
    client.until(job_id, "COMPILATION_FAILED")
    job = client("GET", f"/v1/jobs/{job_id}").json()
    content = {"code": "InvalidProgram", "message": "line 1: no program is not understood"}
    assert job["errors"] == [{"content": content}]
    other = client.create()
    client.send(other, qir("hh__body %Qubit* null", results=1))
    client.until(other, "TRANSPILATION_FAILED")
    assert client.events(other) == ["CREATED", "INPUT_READY", *RUNNING[:3], "TRANSPILATION_FAILED"]
    for failed in (job_id, other):
        assert client("GET", f"/v1/jobs/{failed}/output").status_code == 409
        assert client("DELETE", f"/v1/jobs/{failed}").status_code == 409


def test_a_program_that_the_device_does_not_take_fails_its_job(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> str:
        raise InputError("the program is too large")

    job_id = client.create()
    monkeypatch.setattr(Device, "submit", refuse)
    assert client.send(job_id, program(1)).status_code == 200
    assert client.events(job_id) == ["CREATED", "INPUT_READY", "COMPILING", "COMPILATION_FAILED"]
    assert client("GET", f"/v1/jobs/{job_id}").json()["errors"][0]["content"]["message"] == "the program is too large"


def test_cancelling_returns_the_job(slow: Client) -> None:
    empty, sent = slow.create(), slow.create()
    slow.send(sent, program(1))
    for job_id in (empty, sent):
        answer = slow("DELETE", f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["events"][-1]["type"]) == (200, "CANCELLED")
        again = slow("DELETE", f"/v1/jobs/{job_id}")
        assert (again.status_code, again.json()["error"]["message"]) == (
            409,
            f"Job {job_id} cannot be cancelled, it is CANCELLED",
        )
        assert slow.send(job_id, program(1)).status_code == 409


def test_a_job_takes_one_program(slow: Client) -> None:
    job_id = slow.create()
    answers: list[int] = []
    start = threading.Barrier(4)

    def send() -> None:
        start.wait(SECONDS)
        answers.append(slow.send(job_id, program(1)).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(answers) == [200, 409, 409, 409]


def test_targets(client: Client) -> None:
    (target,) = client("GET", "/v1/targets/").json()
    assert target["name"] == TARGET
    assert client("GET", f"/v1/targets/{TARGET}/health").json() == "OK"
    (available,) = client("GET", f"/v1/targets/{TARGET}/availabilities", params={"limit": 5, "offset": 0}).json()
    assert (available["target"], available["enabled"]) == (TARGET, True)
    assert {"id", "createdAt"} < available.keys()
    assert client("GET", f"/v1/targets/{TARGET}/availabilities", params={"offset": 1}).json() == []
    for path in ("health", "availabilities"):
        assert client("GET", f"/v1/targets/EMU:1Q:OTHER/{path}").status_code == 404
    assert requests.get(f"{client.url}/v1/health/", timeout=SECONDS).json() == "OK"


def test_lists_come_in_pages_and_late() -> None:
    with CASE.start() as running:
        client = Client(running)
        made = [client.create() for _ in range(5)]
        pages = [client("GET", "/v1/jobs/", params={"page": page, "limit": 2}).json() for page in (1, 2, 3, 4)]
        assert [[job["id"] for job in page] for page in pages] == [made[:2:-1], made[2:0:-1], made[:1], []]
        assert len(client("GET", "/v1/jobs/").json()) == 5
    with CASE.start(options=DialectOptions(list_delay=3600.0, seed=1)) as running:
        client = Client(running)
        job_id = client.create()
        assert client("GET", "/v1/jobs/").json() == []
        assert client("GET", f"/v1/jobs/{job_id}").status_code == 200


ROUTES = [
    ("GET", "/v1/targets/"),
    ("GET", f"/v1/targets/{TARGET}/health"),
    ("GET", f"/v1/targets/{TARGET}/availabilities"),
    ("POST", "/v1/jobs/"),
    ("GET", "/v1/jobs/"),
    ("GET", "/v1/jobs/x"),
    ("DELETE", "/v1/jobs/x"),
    ("POST", "/v1/jobs/x/input"),
    ("GET", "/v1/jobs/x/input"),
    ("GET", "/v1/jobs/x/output"),
    ("GET", "/v1/jobs/x/memory"),
    ("GET", "/v1/jobs/x/transpiled"),
    ("GET", "/v1/jobs/x/metrics"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_the_key(client: Client, method: str, path: str) -> None:
    wrong = base64.b64encode(b"user:wrong").decode()
    for headers in ({"Authorization": f"Basic {wrong}"}, {"Authorization": f"Bearer {client.key}"}, {}):
        answer = requests.request(method, f"{client.url}{path}", headers=headers, timeout=SECONDS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 401)
        assert answer.headers["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "/x" in route[1]])
def test_a_job_that_is_not_there(client: Client, method: str, path: str) -> None:
    answer = client(method, path)
    assert (answer.status_code, answer.json()) == (404, {"error": {"code": 404, "message": "Could not find job x"}})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/jobs", 404),
        ("GET", "/v1/targets", 404),
        ("GET", "/v2/jobs/", 404),
        ("GET", "/v1/jobs/x/logs", 404),
        ("PUT", "/v1/jobs/x", 405),
        ("GET", "/v1/jobs/?status=DONE", 400),
        ("GET", "/v1/targets/?name=x", 400),
        ("GET", "/v1/jobs/?page=0", 422),
        ("GET", "/v1/jobs/?limit=many", 422),
        ("GET", f"/v1/targets/{TARGET}/availabilities?offset=-1", 422),
    ],
)
def test_nothing_else_is_there(client: Client, method: str, path: str, status: int) -> None:
    assert client(method, path).status_code == status


@pytest.mark.parametrize(
    ("body", "where", "kind"),
    [
        ([], ["body"], "dict_type"),
        ({}, ["body", "inputDataFormat"], "missing"),
        (JOB | {"inputDataFormat": "QASM"}, ["body", "inputDataFormat"], "enum"),
        (JOB | {"target": 1}, ["body", "target"], "str_type"),
        (JOB | {"inputParams": []}, ["body", "inputParams"], "dict_type"),
        (JOB | {"more": 1}, ["body", "more"], "extra_forbidden"),
    ],
)
def test_a_wrong_field_is_named(client: Client, body: Any, where: list[str], kind: str) -> None:
    answer = client("POST", "/v1/jobs/", json=body)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (where, kind)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, 'Input param "nbShots" is required.'),
        ({"nbShots": 0}, 'Input param "nbShots" must be in the range [1, 1000000].'),
        ({"nbShots": True}, 'Input param "nbShots" must be of type int, not true.'),
        ({"nbShots": 1, "speed": 2}, 'Input param "speed" is not supported by this target.'),
    ],
)
def test_wrong_parameters_are_told_in_the_vendors_words(client: Client, parameters: Any, said: str) -> None:
    answer = client("POST", "/v1/jobs/", json=JOB | {"inputParams": parameters})
    assert (answer.status_code, answer.json()) == (400, {"error": {"code": 400, "message": said}})


def test_no_request_harms_the_server(client: Client) -> None:
    job_id = client.create()
    path = f"/v1/jobs/{job_id}/input"
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    answers = [
        client("POST", "/v1/jobs/", data=b"{", headers={"Content-Type": "application/json"}),
        client("POST", "/v1/jobs/", data=b"[" * 100_000),
        client("POST", "/v1/jobs/", data=b"\xff\xfe"),
        client("POST", "/v1/jobs/", json=JOB | {"target": "x" * 10_000}),
        client("POST", "/v1/jobs/", data=json.dumps(JOB | {"inputParams": {"nbShots": float("inf")}})),
        client("POST", path),
        client("POST", path, data=b"x"),
        client("POST", path, data=b"garbage", headers=multipart),
        client("POST", path, data=b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n", headers=multipart),
        client("POST", path, data={"input": "a field, not a file"}),
        client("POST", path, files={"other": b"x"}),
        client("GET", "/v1/jobs/%2e%2e%2fetc"),
    ]
    assert [answer.status_code for answer in answers if not 400 <= answer.status_code < 500] == []
    assert all(answer.json() for answer in answers)
    assert client.events(job_id) == ["CREATED"]
    assert client.send(job_id, program(2)).status_code == 200


def test_a_device_that_runs_no_qir_is_refused_at_the_start() -> None:
    with (
        pytest.raises(InputError, match=r"aer_ideal .* put another engine behind it, such as felis_ideal"),
        site("alice-bob-felis", engine="aer_ideal"),
    ):
        pass
