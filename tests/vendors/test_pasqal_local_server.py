# SPDX-License-Identifier: Apache-2.0
"""Our Warden answers as the real one was seen to, and as strictly as it may where that was not seen."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from munge_daemon import OTHER_UID, Munged, munged
from pasqal_local_case import pulse, warden
from vendor_site import Site

from qrmi_core import munge, polling
from qrmi_core.gateway.dialects import DialectOptions

JOB = {"sequence": pulse(3.0).to_abstract_repr(), "shots": 5}
Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    with munged() as both:
        yield both


@pytest.fixture(scope="module")
def running(daemons: Munged) -> Iterator[Site]:
    with warden(daemons) as site:
        yield site


@pytest.fixture
def ask(running: Site, daemons: Munged) -> Ask:
    """Ask the server as root, or as another user; ``credential`` None means none."""

    def ask(
        method: str,
        path: str,
        body: Any = None,
        *,
        other: bool = False,
        session: str | None = None,
        credential: str | None = "",
    ) -> requests.Response:
        if credential == "":
            credential = munge.encode(socket=daemons.other if other else daemons.socket)
        headers = {"X-Munge-Cred": credential, "X-Warden-Session": session}
        return requests.request(
            method, running.emulator.url + path, json=body, headers={k: v for k, v in headers.items() if v}, timeout=60
        )

    return ask


@pytest.fixture
def session(ask: Ask) -> str:
    told = ask("POST", "/sessions", {"user_id": str(OTHER_UID), "slurm_job_id": "7"})
    assert told.status_code == 200
    return str(told.json()["id"])


def test_a_job_from_the_session_to_its_results(ask: Ask, session: str) -> None:
    taken = ask("POST", "/jobs", JOB, other=True, session=session)
    assert taken.status_code == 200
    job = taken.json()
    assert job.keys() == {"id", "user_id", "status", "results"}
    assert (job["user_id"], job["results"]) == (str(OTHER_UID), None) or job["status"] == "DONE"
    assert isinstance(job["id"], int)

    def done() -> bool:
        job.update(ask("GET", f"/jobs/{job['id']}", other=True).json())
        return bool(job["status"] == "DONE")

    assert polling.wait_until(done, timeout=60)
    assert sum(json.loads(job["results"])["counter"].values()) == 5
    assert job in ask("GET", "/jobs", other=True).json()
    assert job["id"] not in [each["id"] for each in ask("GET", "/jobs").json()]
    for path in ("", "/logs"):
        answer = ask("GET", f"/jobs/{job['id']}{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found."})
    assert ask("POST", f"/jobs/{job['id']}/cancel").status_code == 404
    assert ask("POST", f"/jobs/{job['id']}/cancel", other=True).json() == job
    assert ask("GET", f"/jobs/{job['id']}/logs", other=True).json() == {"logs": ""}


@pytest.mark.parametrize("path", ["/jobs", "/jobs/1", "/jobs/1/logs", "/qpu/specs"])
def test_every_route_but_one_asks_who_is_there(ask: Ask, daemons: Munged, path: str) -> None:
    assert ask("GET", "/accessible", credential=None).json() == {"is_accessible": True, "message": "ok"}
    assert ask("GET", path, credential=None).status_code == 401
    assert ask("GET", path, credential="garbage").status_code == 401
    credential = munge.encode(socket=daemons.socket)
    assert ask("GET", path, credential=credential).status_code in {200, 404}
    again = ask("GET", path, credential=credential)
    assert again.status_code == 401
    assert "was used before" in again.json()["detail"]


def test_specs_are_text(ask: Ask) -> None:
    assert json.loads(ask("GET", "/qpu/specs").json()["specs"])["name"] == "AnalogDevice"


def test_sessions_are_for_root(ask: Ask, session: str) -> None:
    body = {"user_id": str(OTHER_UID), "slurm_job_id": "7"}
    for answer in (ask("POST", "/sessions", body, other=True), ask("DELETE", f"/sessions/{session}", other=True)):
        assert (answer.status_code, answer.json()) == (403, {"detail": "Endpoint restricted to root user."})


def test_sessions_end_when_they_are_revoked(ask: Ask, session: str) -> None:
    for _ in range(2):
        assert ask("DELETE", f"/sessions/{session}").json() == {"id": session}
    assert ask("DELETE", f"/sessions/{uuid.uuid4()}").status_code == 404
    assert ask("DELETE", "/sessions/no-uuid").status_code == 422
    told = {
        case: ask("POST", "/jobs", JOB, other=True, session=each)
        for case, each in {"none": None, "revoked": session, "unknown": str(uuid.uuid4()), "no uuid": "x"}.items()
    }
    assert {case: answer.status_code for case, answer in told.items()} == {
        "none": 403,
        "revoked": 403,
        "unknown": 403,
        "no uuid": 422,
    }
    assert len({answer.text for answer in told.values()}) == 4


def test_a_session_is_its_users(ask: Ask, session: str) -> None:
    assert ask("POST", "/jobs", JOB, session=session).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/jobs", {"sequence": {}, "shots": 5}, 422),
        ("POST", "/jobs", {"sequence": "{}", "shots": "5"}, 422),
        ("POST", "/jobs", {"sequence": "{}", "shots": True}, 422),
        ("POST", "/jobs", [], 422),
        ("POST", "/jobs", None, 400),
        ("POST", "/sessions", {"user_id": 5, "slurm_job_id": "7"}, 422),
        ("POST", "/sessions", {"user_id": "5"}, 422),
        ("GET", "/jobs/twelve", None, 422),
        ("GET", "/jobs/4294967296", None, 422),
        ("GET", "/jobs/1234567", None, 404),
        ("GET", "/jobs?user=5", None, 400),
        ("GET", "/accessible?x=1", None, 400),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/jobs/1", None, 405),
        ("PUT", "/accessible", None, 405),
    ],
)
def test_what_it_does_not_know_is_refused(
    ask: Ask, session: str, method: str, path: str, body: Any, status: int
) -> None:
    answer = ask(method, path, body, other=path == "/jobs", session=session)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("wrong", [{"sequence": "garbage"}, {"sequence": "{}"}, {"shots": 0}, {"shots": 10**9}])
def test_it_checks_nothing_and_the_job_fails(ask: Ask, session: str, wrong: dict[str, Any]) -> None:
    taken = ask("POST", "/jobs", JOB | wrong, other=True, session=session)
    assert taken.status_code == 200

    def told() -> dict[str, Any]:
        answer: dict[str, Any] = ask("GET", f"/jobs/{taken.json()['id']}", other=True).json()
        return answer

    assert polling.wait_until(lambda: told()["status"] == "ERROR", timeout=60)
    assert told()["results"] is None


def test_a_qpu_that_is_not_accessible_takes_jobs_all_the_same(ask: Ask, session: str) -> None:
    body = {"is_accessible": False, "message": "cooling down"}
    try:
        assert ask("POST", "/accessible", body, other=True).status_code == 403
        assert ask("POST", "/accessible", body).json() == body
        assert ask("GET", "/accessible", credential=None).json() == body
        assert ask("POST", "/jobs", JOB, other=True, session=session).status_code == 200
    finally:
        ask("POST", "/accessible", {"is_accessible": True, "message": "ok"})


def test_warden_0_1_0_has_no_cancel_and_no_logs(daemons: Munged) -> None:
    with warden(daemons, options=DialectOptions(without=frozenset({"cancel", "logs"}))) as site:
        for method, path in (("POST", "/jobs/1/cancel"), ("GET", "/jobs/1/logs")):
            headers = {"X-Munge-Cred": munge.encode(socket=daemons.socket)}
            assert requests.request(method, site.emulator.url + path, headers=headers, timeout=60).status_code == 404
