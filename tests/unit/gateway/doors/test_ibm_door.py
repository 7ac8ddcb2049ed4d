# SPDX-License-Identifier: Apache-2.0
"""IBM's cloud behind the gateway: what a job may ask, and what it is never told."""

from __future__ import annotations

import json
import re
import secrets
import time
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from doored import Doored, Job, doored
from ibm_site import INSTANCE, ROOT, cloud, entry, job_body, shows
from munge_daemon import Munged
from vendor_site import Clock, Site

from qrmi_core import polling
from qrmi_core.drivers.ibm_compute import IBMQuantumComputeService
from qrmi_core.environment import read_job
from qrmi_core.leases import LeaseTask
from qrmi_core.payloads import QiskitPrimitive
from qrmi_core.service import make_resource

ALICE, BOB = 4001, 4002
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
PATIENCE = 60.0

pytestmark = [
    pytest.mark.timeout(200),
    pytest.mark.filterwarnings("ignore:.* is now called:qrmi_core.QRMIWarning"),  # the gateway's own, of the old name
]


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def site(clock: Clock) -> Iterator[Site]:
    with cloud(service_time=clock) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(site: Site, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doored]:
    resources = [
        entry("Fez", site),
        entry("Kyiv", site, QRMI_IBM_QCS_SESSION_MODE="none"),
        entry("Old", site, old=True),
    ]
    with doored(tmp_path_factory.mktemp("gateway"), daemons.socket, resources) as running:
        yield running


@pytest.fixture(scope="module")
def alice(gateway: Doored) -> Job:
    return gateway.granted("Fez", uid=ALICE)


@pytest.fixture(scope="module")
def bob(gateway: Doored) -> Job:
    return gateway.granted("Fez", uid=BOB)


def web_token(job: Job, key: str | None = None, *, source: str = "127.0.0.1") -> tuple[int, Any]:
    form = urlencode({"grant_type": GRANT, "apikey": key or job.token, "response_type": "cloud_iam"}).encode()
    return job.ask("POST", "/identity/token", form, headers={**FORM, "Authorization": ""}, source=source)


def created(job: Job, number: int = 1, **fields: Any) -> str:
    status, told = job.ask("POST", f"{ROOT}/jobs", job_body(number, **fields))
    assert status == 200, told
    return str(told["id"])


def finished(job: Job, task: str, at: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {}

    def is_final() -> bool:
        told.update(job.ask("GET", f"{at}{ROOT}/jobs/{task}?exclude_params=true")[1])
        return told["state"]["status"] in {"Completed", "Failed", "Cancelled"}

    assert polling.wait_until(is_final, timeout=PATIENCE)
    return told


def test_a_jobs_token_is_a_key_and_nothing_else_is(alice: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        status, told = web_token(alice)
        assert (status, told["token_type"], told["expires_in"]) == (200, "Bearer", 3600)
        assert alice.ask("GET", f"{ROOT}/backends", token=told["access_token"])[0] == 200
        foreign = {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}
        for key in ("somebodys-own-key", "", "é", "a" * 9000):
            assert web_token(alice, key or "-") == (400, foreign)
        assert web_token(alice, source="127.0.0.2") == (400, foreign)
        refused = alice.ask("POST", "/identity/token", b"grant_type=password&password=my-own-word", headers=FORM)
        assert (refused[0], refused[1]["errorCode"]) == (400, "BXNIM0137E")
    said = caplog.text
    assert not [each for each in ("somebodys-own-key", "my-own-word", alice.token) if each in said]
    assert told["access_token"] not in said


def test_a_token_is_good_on_the_nodes_of_its_job_only(alice: Job) -> None:
    for token in (alice.token, web_token(alice)[1]["access_token"]):
        assert alice.ask("GET", f"{ROOT}/backends", token=token)[0] == 200
        status, told = alice.ask("GET", f"{ROOT}/backends", token=token, source="127.0.0.2")
        assert (status, told["errors"][0]["code"]) == (401, "401")


def test_one_instance_holds_the_qpus_of_a_job(gateway: Doored) -> None:
    job = gateway.granted("Fez", "Old", uid=ALICE)
    (item,) = job.ask("POST", "/v3/resources/search", {"query": "service_name:quantum-computing"})[1]["items"]
    assert (item["crn"], bool(item["doc"]["extensions"])) == (INSTANCE, True)
    plan = job.ask("GET", f"/api/v1/{item['service_plan_unique_id']}")[1]
    assert plan["metadata"]["pricing"]["type"] == "free"
    names = [each["name"] for each in job.ask("GET", f"{ROOT}/backends")[1]["devices"]]
    assert names == ["Fez", "Old"]  # both are aer_ideal: that name is nobody's
    status, told = job.ask("GET", f"{ROOT}/backends/aer_ideal/status")
    assert (status, told["errors"][0]["message"]) == (
        400,
        "several QPUs of this job are a aer_ideal, name one of them: Fez, Old",
    )
    for name in names:
        task = created(job, 3, backend=name)
        assert finished(job, task)["backend"] == name
        assert job.ask("GET", f"/r/{name}{ROOT}/jobs/{task}")[1]["backend"] == "aer_ideal"
    assert len(job.ask("GET", f"{ROOT}/jobs")[1]["jobs"]) >= 2
    assert [each["backend"] for each in job.ask("GET", f"{ROOT}/jobs?backend=Old")[1]["jobs"]] == ["Old"]


def test_a_qpu_answers_to_its_name_and_to_its_devices(alice: Job) -> None:
    names = [each["name"] for each in alice.ask("GET", f"{ROOT}/backends?include_mocks=True")[1]["devices"]]
    assert names == ["aer_ideal", "Fez"]
    for root in (ROOT, f"/r/Fez{ROOT}", "/r/Fez/api/v1"):
        for name in names:
            assert alice.ask("GET", f"{root}/backends/{name}/configuration")[1]["backend_name"] == name
            assert alice.ask("GET", f"{root}/backends/{name}/status")[1]["status"] == "active"
            assert alice.ask("GET", f"{root}/backends/{name}/properties")[0] == 200


@pytest.mark.parametrize("path", ["/backends/ibm_fez/status", "/backends/Kyiv/status", "/jobs?backend=Kyiv"])
def test_other_qpus_are_refused_whether_they_are_there_or_not(alice: Job, path: str) -> None:
    status, told = alice.ask("GET", f"{ROOT}{path}")
    text = "backend: this job has no such QPU, it has Fez, aer_ideal"
    assert (status, told["errors"][0]["message"]) == (403, text)


def test_the_jobs_own_driver_runs_through_the_door(gateway: Doored, site: Site) -> None:
    job = gateway.granted("Fez", "Kyiv", "Old", uid=ALICE)
    told = read_job(job.environment)
    assert told is not None
    for each in told.resources:
        assert each.acquisition_token is None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            resource = make_resource(each.name, each.type, each.values, context=told.context(each))
        assert isinstance(resource, IBMQuantumComputeService)
        body = job_body(9)
        task = resource.submit(QiskitPrimitive("sampler", json.dumps(body["params"]).encode()))
        shows(task.result(timeout=PATIENCE).data, 9)
        sessions = gateway.gateway.doors.books.of_lease(gateway.keeper.get(job.lease), each.name, "session")
        assert len(sessions) == (0 if each.name == "Kyiv" else 1)
    gateway.release(job)
    opened = [session for session in site.emulator.dialect._sessions.values() if session.state != "closed"]
    assert opened == []


def test_a_session_lasts_as_long_as_its_job_may_run(gateway: Doored, site: Site) -> None:
    job = gateway.granted("Fez", uid=ALICE, seconds=600.0)
    asked = {"mode": "dedicated", "backend": "Fez", "instance": INSTANCE}
    for wanted, least, most in ((None, 640, 660), (28800, 640, 660), (30, 30, 30)):
        status, told = job.ask("POST", f"{ROOT}/sessions", {**asked, **({"max_ttl": wanted} if wanted else {})})
        assert (status, told["backend_name"], "user_id" in told) == (200, "aer_ideal", False)
        assert least <= told["max_ttl"] <= most
        assert job.ask("GET", f"{ROOT}/sessions/{told['id']}")[1]["state"] == "open"
    task = created(job, session_id=told["id"])
    assert finished(job, task)["session_id"] == told["id"]
    assert [each["id"] for each in job.ask("GET", f"{ROOT}/jobs?session_id={told['id']}")[1]["jobs"]] == [task]
    assert job.ask("PATCH", f"{ROOT}/sessions/{told['id']}", {"accepting_jobs": False})[0] == 204
    assert job.ask("DELETE", f"{ROOT}/sessions/{told['id']}/close")[0] == 204
    status, told = job.ask("POST", f"{ROOT}/jobs", job_body(session_id=told["id"]))
    assert (status, told["errors"][0]["code"]) == (409, "1352")
    gateway.release(job)
    assert {each.state for each in site.emulator.dialect._sessions.values()} == {"closed"}


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"mode": "eternal"}, 400, "mode must be one of dedicated, batch"),
        ({"max_ttl": True}, 400, "max_ttl must be a positive number"),
        ({"instance": "crn:v1:of:others"}, 403, "this job has one instance"),
        ({"backend": "ibm_fez"}, 403, "this job has no such QPU"),
        ({"backend_name": "ibm_fez"}, 403, "this job has no such QPU"),
        ({"project": "p"}, 400, "unknown keys: project"),
    ],
)
def test_sessions_that_are_refused(alice: Job, fields: dict[str, Any], status: int, text: str) -> None:
    body = {"mode": "batch", "backend": "Fez", **fields}
    got, told = alice.ask("POST", f"{ROOT}/sessions", body)
    assert got == status
    assert text in told["errors"][0]["message"]


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({"backend": "ibm_fez"}, 403, "backend: this job has no such QPU"),
        ({"backend": None}, 403, "backend: this job has no such QPU"),
        ({"backend": ["Fez"]}, 403, "backend: this job has no such QPU"),
        ({"session_id": "0123"}, 404, "Session not found: 0123"),
        ({"session_id": {"a": 1}}, 404, "Session not found"),
        ({"program_id": "circuit-runner"}, 403, "program_id: this site runs sampler, estimator"),
        ({"tags": "mine"}, 400, "tags must be a list of texts"),
        ({"hub": "ibm-q"}, 400, "unknown keys: hub"),
    ],
)
def test_jobs_that_are_refused(alice: Job, site: Site, changed: dict[str, Any], status: int, text: str) -> None:
    before = site.emulator.device.runs
    got, told = alice.ask("POST", f"{ROOT}/jobs", job_body(**changed))
    assert (got, site.emulator.device.runs) == (status, before)
    assert text in told["errors"][0]["message"]


def test_a_key_that_stands_twice_is_refused_and_one_within_the_payload_is_the_vendors(alice: Job, site: Site) -> None:
    before, body = site.emulator.device.runs, json.dumps(job_body())
    for twice in (
        body[:-1] + ', "backend": "ibm_fez"}',
        '{"backend": "ibm_fez", ' + body[1:],
        body[:-1] + ', "\\u0062ackend": "ibm_fez"}',
    ):
        status, told = alice.ask("POST", f"{ROOT}/jobs", twice.encode(), headers={"Content-Type": "application/json"})
        assert status == 400, told
    assert site.emulator.device.runs == before
    nested = job_body()
    nested["params"]["backend"] = "ibm_fez"
    status, told = alice.ask("POST", f"{ROOT}/jobs", nested)
    assert (status, told["errors"][0]["code"]) == (400, "1211")  # the vendor's own word
    assert site.emulator.device.runs == before


def test_the_gateways_tag_is_not_shown_and_not_lost(alice: Job, site: Site) -> None:
    task = created(alice, tags=["mine"])

    def tags() -> tuple[list[str], list[str]]:
        """At the vendor, and as the job sees them."""
        theirs = site.emulator.dialect._jobs[task].tags
        whole = alice.ask("GET", f"{ROOT}/jobs/{task}")[1]
        (listed,) = alice.ask("GET", f"{ROOT}/jobs?tags={whole['tags'][0]}")[1]["jobs"]
        assert finished(alice, task)["tags"] == whole["tags"] == listed["tags"]
        return theirs, whole["tags"]

    (mine, *ours), shown = tags()
    assert (mine, shown) == ("mine", ["mine"])
    assert re.fullmatch(rf"qrmi-[0-9a-f]{{16}}-\S+ qrmi-lease-{alice.lease}", " ".join(ours))
    assert alice.ask("PUT", f"{ROOT}/jobs/{task}/tags", {"tags": ["a", "qrmi-lease-other", "b"]})[0] == 204
    assert tags() == (["a", "b", *ours], ["a", "b"])
    assert alice.ask("GET", f"{ROOT}/jobs?tags=mine")[1]["jobs"] == []
    assert alice.ask("GET", f"{ROOT}/jobs?tags=a&tags=b")[1]["count"] == 1
    full = [f"t{number}" for number in range(8)]
    assert finished(alice, created(alice, tags=full))["tags"] == full


def test_the_input_comes_back_as_it_was_sent(alice: Job) -> None:
    body = job_body(6)
    told = alice.ask("GET", f"{ROOT}/jobs/{created(alice, 6)}")[1]
    assert told["params"] == body["params"]
    assert "user_id" not in told


def test_the_life_of_a_job(alice: Job, clock: Clock, site: Site) -> None:
    clock.seconds = 3600.0
    try:
        task = created(alice, 2)
    finally:
        clock.seconds = 0.0
    assert alice.ask("GET", f"{ROOT}/jobs/{task}?exclude_params=true")[1]["state"]["status"] in {"Queued", "Running"}
    assert task in [each["id"] for each in alice.ask("GET", f"{ROOT}/jobs?pending=true")[1]["jobs"]]
    assert alice.ask("DELETE", f"{ROOT}/jobs/{task}")[1]["errors"][0]["code"] == "1337"
    assert alice.ask("POST", f"{ROOT}/jobs/{task}/cancel")[0] == 204
    assert finished(alice, task)["state"]["status"] == "Cancelled"
    assert alice.ask("POST", f"{ROOT}/jobs/{task}/cancel")[1]["errors"][0]["code"] == "1306"
    assert task not in [each["id"] for each in alice.ask("GET", f"{ROOT}/jobs?pending=true")[1]["jobs"]]
    task = created(alice, 5)
    assert finished(alice, task)["usage"]["seconds"] > 0
    _, result = alice.ask("GET", f"{ROOT}/jobs/{task}/results")
    shows(result, 5)
    assert alice.ask("GET", f"{ROOT}/jobs/{task}/metrics")[1]["usage"]["status"] == "final"
    assert alice.ask("GET", f"{ROOT}/jobs/{task}/logs")[0] in {200, 404}
    assert alice.ask("GET", f"{ROOT}/instances/usage")[1]["instance_id"] == INSTANCE
    assert alice.ask("DELETE", f"{ROOT}/jobs/{task}")[0] == 204
    assert alice.ask("GET", f"{ROOT}/jobs/{task}")[1]["errors"][0]["code"] == "1291"
    assert task not in [each["id"] for each in alice.ask("GET", f"{ROOT}/jobs")[1]["jobs"]]


def test_what_came_of_a_job_is_in_the_books(gateway: Doored) -> None:
    job = gateway.granted("Fez", uid=ALICE)
    task = created(job, 5)
    finished(job, task)

    def told() -> dict[str, Any]:
        rows = gateway.do(gateway.gateway.doors.books.usage(uid=ALICE)).tasks
        return next(row for row in rows if row["task"] == task)

    assert polling.wait_until(lambda: told()["outcome"] == "completed", timeout=PATIENCE)
    row = told()
    assert (row["program"], row["lease"], row["usage_seconds"] > 0) == ("sampler", job.lease, True)
    assert row["submitted"] <= row["ended"]


def test_a_job_that_somebody_deleted_at_the_vendor_is_looked_for_no_longer(gateway: Doored) -> None:
    job, books = gateway.granted("Fez", uid=4011), gateway.gateway.doors.books
    lease, document = gateway.keeper.get(job.lease), {"id": "gone", "state": {"status": "Queued"}}
    detail = json.dumps({"tag": None, "document": document})
    gateway.do(books.add(lease, LeaseTask("Fez", "gone", detail=detail, submitted=time.time() - 3600.0)))
    assert job.ask("GET", f"{ROOT}/jobs/gone?exclude_params=true")[1]["errors"][0]["code"] == "1291"
    (task,) = books.of_lease(lease, "Fez")
    assert (task.outcome, task.ended is not None) == ("gone", True)


ROUTES = [
    ("GET", "/jobs/{job}", None),
    ("GET", "/jobs/{job}?exclude_params=true", None),
    ("GET", "/jobs/{job}/results", None),
    ("GET", "/jobs/{job}/logs", None),
    ("GET", "/jobs/{job}/metrics", None),
    ("POST", "/jobs/{job}/cancel", None),
    ("DELETE", "/jobs/{job}", None),
    ("PUT", "/jobs/{job}/tags", {"tags": ["mine now"]}),
    ("GET", "/sessions/{session}", None),
    ("PATCH", "/sessions/{session}", {"accepting_jobs": False}),
    ("DELETE", "/sessions/{session}/close", None),
    ("POST", "/jobs", {"session_id": "{session}"}),
]
"""Every route that names a job or a session; a session's id stands for a job's and the other way round, too."""


def test_nobody_reaches_what_is_somebody_elses(alice: Job, bob: Job, site: Site) -> None:
    theirs = {
        "job": created(alice, 7, tags=["secret"]),
        "session": alice.ask("POST", f"{ROOT}/sessions", {"mode": "batch", "backend": "Fez"})[1]["id"],
    }
    finished(alice, theirs["job"])
    before = (len(site.emulator.dialect._jobs), len(site.emulator.dialect._sessions))
    tokens = (bob.token, web_token(bob)[1]["access_token"])
    missing = {
        kind: secrets.token_hex(len(value) // 2)[: len(value)].ljust(len(value), "0") for kind, value in theirs.items()
    }
    for token in tokens:
        for at in ("", "/r/Fez"):
            for method, path, body in ROUTES:
                for mixed in (False, True):
                    told = []
                    for ids in (theirs, missing):
                        known = {"job": ids["session"], "session": ids["job"]} if mixed else ids
                        sent = json.loads(json.dumps(body).replace("{session}", known["session"])) if body else None
                        if path == "/jobs":
                            sent = job_body(**sent)
                        answer = bob.asked(method, at + ROOT + path.format(**known), sent, token=token)
                        status, headers, text = answer
                        text = json.loads(json.dumps(text).replace(known["job"], "ID").replace(known["session"], "ID"))
                        text.pop("trace")
                        told.append((status, sorted(headers), text))
                    assert told[0] == told[1], (method, path)
                    assert told[0][0] == 404, (method, path, told)
    for query in ("", "?tags=secret", f"?session_id={theirs['session']}", "?pending=false", "?limit=200&sort=ASC"):
        listed = bob.ask("GET", f"{ROOT}/jobs{query}")[1]
        assert (listed["jobs"], listed["count"]) == ([], 0)
    assert (len(site.emulator.dialect._jobs), len(site.emulator.dialect._sessions)) == before
    assert site.emulator.dialect._jobs[theirs["job"]].tags[0] == "secret"
    assert site.emulator.dialect._sessions[theirs["session"]].accepting_jobs
    for name in ("Kyiv", "Old", "nothing"):
        for path in ("/backends", "/jobs", f"/jobs/{theirs['job']}"):
            assert bob.ask("GET", f"/r/{name}{ROOT}{path}")[0] in {403, 404}
    status, told = bob.ask("GET", f"{ROOT}/backends", headers={"Service-CRN": "crn:v1:of:alice"})
    assert (status, "alice" in json.dumps(told)) == (403, False)
    assert bob.ask("GET", f"{ROOT}/backends", headers={"Service-CRN": INSTANCE})[0] == 200


def test_after_the_release_the_tokens_are_nothing_and_all_is_cancelled(
    gateway: Doored, site: Site, clock: Clock
) -> None:
    job = gateway.granted("Fez", uid=ALICE)
    token = web_token(job)[1]["access_token"]
    session = job.ask("POST", f"{ROOT}/sessions", {"mode": "dedicated", "backend": "Fez"})[1]["id"]
    clock.seconds = 3600.0
    try:
        tasks = [created(job, session_id=session), created(job)]
    finally:
        clock.seconds = 0.0
    gateway.release(job)
    for each in (job.token, token):
        for method, path in (("GET", "/backends"), ("GET", f"/jobs/{tasks[0]}"), ("GET", "/jobs"), ("POST", "/jobs")):
            assert job.ask(method, f"{ROOT}{path}", token=each)[0] == 401
    assert web_token(job)[0] == 400
    dialect = site.emulator.dialect
    assert dialect._sessions[session].state == "closed"
    assert [dialect._jobs[task].device._ends.get(dialect._jobs[task].task_id) for task in tasks] == [None, None]


def test_a_later_lease_of_the_same_user_and_account_reads_the_results(gateway: Doored) -> None:
    first = gateway.granted("Fez", uid=BOB, account="physics")
    task = created(first, 4)
    finished(first, task)
    gateway.release(first)
    again = gateway.granted("Fez", uid=BOB, account="physics")
    shows(again.ask("GET", f"{ROOT}/jobs/{task}/results")[1], 4)
    assert task in [each["id"] for each in again.ask("GET", f"{ROOT}/jobs")[1]["jobs"]]
    for stranger in (
        gateway.granted("Fez", uid=BOB, account="arts"),
        gateway.granted("Kyiv", uid=BOB, account="physics"),
    ):
        assert stranger.ask("GET", f"{ROOT}/jobs/{task}")[0] == 404


def test_many_jobs_are_listed_without_asking_for_each(gateway: Doored, site: Site) -> None:
    job, books = gateway.granted("Fez", uid=4010), gateway.gateway.doors.books
    lease, now = gateway.keeper.get(job.lease), time.time()
    document = {"status": "Completed", "state": {"status": "Completed"}, "program": {"id": "sampler"}, "tags": ["many"]}

    async def add() -> None:
        for number in range(250):
            told = {**document, "id": f"t{number:03}", "created": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"}
            detail = json.dumps({"tag": None, "document": told})
            task = LeaseTask(
                "Fez", told["id"], detail=detail, submitted=now - 250 + number, ended=now, outcome="completed"
            )
            await books.add(lease, task)

    gateway.do(add())
    before = site.emulator.counters.total()
    first = job.ask("GET", f"{ROOT}/jobs?limit=200&exclude_params=true")[1]
    second = job.ask("GET", f"{ROOT}/jobs?limit=200&offset=200&exclude_params=true")[1]
    assert (len(first["jobs"]), len(second["jobs"]), first["count"]) == (200, 50, 250)
    assert [each["id"] for each in first["jobs"] + second["jobs"]] == [
        f"t{number:03}" for number in reversed(range(250))
    ]
    assert site.emulator.counters.total() == before
    for query in ("limit=0", "limit=201", "offset=-1", "created_after=yesterday", "colour=red"):
        assert job.ask("GET", f"{ROOT}/jobs?{query}")[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/workloads"), ("GET", "/versions"), ("GET", "/accounts/1"), ("POST", "/backends"), ("PUT", "/jobs"),
        ("GET", "/jobs/a/interim_results"), ("GET", "/backends/aer_ideal/defaults"), ("DELETE", "/sessions/1"),
        ("GET", "/jobs/%2e%2e/sessions"), ("GET", "/jobs/a%2Fb"), ("GET", "//jobs"),
    ],
)  # fmt: skip
def test_what_no_client_needs_is_not_there(alice: Job, site: Site, method: str, path: str) -> None:
    before = site.emulator.counters.total()
    assert alice.ask(method, f"{ROOT}{path}")[0] in {400, 404, 405}
    assert site.emulator.counters.total() == before
