# SPDX-License-Identifier: Apache-2.0
"""Pasqal's cloud behind the gateway: programs run unchanged, and nobody sees what is not his."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from doored import Doored, Job, doored
from munge_daemon import Munged
from pasqal_cloud_case import CASE, rabi
from vendor_site import Clock, Site

from qrmi_core import JobContext, TaskStatus, polling
from qrmi_core.drivers.pasqal_cloud import PasqalCloud
from qrmi_core.gateway.dialects import DialectOptions
from qrmi_core.gateway.faults import Faults
from qrmi_core.leases import LeaseTask
from qrmi_core.resource import ResourceStatusCode
from qrmi_core.vendor_environment import HOOK

NOBODY = "00000000-0000-4000-8000-000000000000"
CORE = "/r/paris/core-fast/api"
CLOCK = Clock()
HEAD = """
import json, os, sys, time
from pasqal_cloud import PasqalCloudConnection, RemoteEmuFreeBackend
from pasqal_cloud.endpoints import Endpoints, TokenProviderConf
from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient
from pasqal_cloud.utils.filters import BatchFilters, RebatchFilters
url = os.environ["QRMI_PASQAL_URL"]
sequence = os.environ["SEQUENCE"]
auth = TokenProviderConf.from_region(None)
auth.token_endpoint = f"{url}/oauth/token"
arguments = dict(
    username="me@example.org", password=os.environ["QRMI_PASQAL_TOKEN"], project_id="my-own-project",
    endpoints=Endpoints(core=f"{url}/core-fast", account=f"{url}/account"), auth_config=auth,
)
"""


@pytest.fixture(scope="module")
def vendor() -> Iterator[Site]:
    with CASE.start(service_time=CLOCK) as running:
        yield running


def entry(vendor: Site, name: str = "paris", **more: str) -> dict[str, Any]:
    return {
        "name": name, "type": "pasqal-cloud", "lanes": 50, "access": "gateway",
        "environment": {**vendor.environment, "QRMI_MIN_POLL": "0", **more},
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(vendor: Site, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doored]:
    directory = tmp_path_factory.mktemp("gateway")
    entries = [entry(vendor), entry(vendor, "tokyo", QRMI_PASQAL_CLOUD_EMULATORS="EMU_SV")]
    with doored(directory, daemons.socket, entries) as running:
        yield running


@pytest.fixture
def job(site: Doored) -> Iterator[Job]:
    made = site.granted("paris", uid=1001)
    yield made
    site.release(made)


def body(**more: Any) -> dict[str, Any]:
    sequence = rabi(math.pi).to_abstract_repr()
    return {"sequence_builder": sequence, "jobs": [{"runs": 10}], "project_id": "x", **more}


def made(job: Job, **more: Any) -> dict[str, Any]:
    status, told = job.ask("POST", f"{CORE}/v1/batches", body(**more))
    assert status == 200, told
    return dict(told["data"])


def tasks(site: Doored, job: Job) -> list[LeaseTask]:
    record = site.keeper.current(job.lease)
    assert record is not None
    return site.gateway.doors.books.of_lease(record, "paris")


def ended(job: Job, batch: str) -> dict[str, Any]:
    status, told = job.ask("GET", f"{CORE}/v1/batches/{batch}/status")
    assert status == 200, told
    return dict(told["data"])


def test_a_batch_runs_and_its_tags_are_the_programs_own(vendor: Site, job: Job) -> None:
    batch = made(job, tags=["mine", "qrmi-lease-other"])
    assert (batch["tags"], batch["device_type"]) == (["mine"], "FRESNEL")
    assert batch["project_id"] == vendor.environment["QRMI_PASQAL_CLOUD_PROJECT_ID"]
    assert ended(job, batch["id"])["jobs_count_per_status"] == {"DONE": 1}
    status, told = job.ask("PATCH", f"{CORE}/v1/batches/{batch['id']}/tags", ["other"])
    assert (status, told["data"]["tags"]) == (200, ["other"])
    (listed,) = job.ask("GET", f"{CORE}/v1/batches?tag=other")[1]["data"]
    assert (listed["id"], listed["tags"]) == (batch["id"], ["other"])
    first, ours, of_lease = vendor.emulator.dialect._batches[batch["id"]].tags
    assert (first, ours.startswith("qrmi-"), of_lease) == ("other", True, f"qrmi-lease-{job.lease}")
    (one,) = job.ask("GET", f"{CORE}/v2/jobs?batch_id={batch['id']}")[1]["data"]
    link = job.ask("GET", f"{CORE}/v1/jobs/{one['id']}/results_link")[1]["data"]["results_link"]
    assert link.startswith(f"{job.url}/r/paris/results/")
    status, result = job.ask("GET", link.removeprefix(job.url), headers={"Authorization": ""})
    assert (status, result["counter"]) == (200, {"1": 10})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            """
client = PasqalCloudClient(**arguments)
batch = client.create_batch(serialized_sequence=sequence, jobs=[{"runs": 100}, {"runs": 50}], wait=True)
print(batch.status, [job.result for job in batch.ordered_jobs])
batch = client.create_batch(serialized_sequence=sequence, jobs=[{"runs": 10}], open=True)
batch.add_jobs([{"runs": 20}], wait=True)
batch.close(wait=True)
print(batch.status, [sum(job.result.values()) for job in batch.ordered_jobs])
print(client.get_job(batch.ordered_jobs[0].id, wait=True).status, len(client.get_all_projects()))
again = client.rebatch(batch.id, RebatchFilters())
print(again.jobs_count, client.get_batches(BatchFilters(id=[again.id, batch.id])).total)
client.cancel_batches([again.id, batch.id])
""",
            "DONE [{'1': 100}, {'1': 50}]\nDONE [10, 20]\nDONE 1\n2 2\n",
        ),
        (
            """
from pulser import QPUBackend, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation
connection = PasqalCloudConnection(**arguments)
assert list(connection.fetch_available_devices()) == ["FRESNEL"]
sequence = Sequence.from_abstract_repr(sequence)
backend = QPUBackend(sequence, connection=connection)
print(backend.run(job_params=[{"runs": 100}, {"runs": 50}], wait=True)[0].final_bitstrings)
configuration = EmulationConfig(observables=[BitStrings(num_shots=10), Occupation()])
emulated = RemoteEmuFreeBackend(sequence, connection=connection, config=configuration)
print(round(float(emulated.run(job_params=[{}], wait=True)[0].occupation[-1][0]), 3))
with backend.open_batch() as opened:
    results = backend.run(job_params=[{"runs": 7}], wait=True)
print(sum(results.results[0].final_bitstrings.values()))
""",
            "{'1': 100}\n1.0\n7\n",
        ),
    ],
    ids=["client", "connection"],
)
def test_unmodified_programs_run(job: Job, tmp_path: Path, program: str, expected: str) -> None:
    done = job.run(HEAD + program, tmp_path, SEQUENCE=rabi(math.pi).to_abstract_repr())
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


@pytest.mark.slow
def test_with_the_hook_a_program_runs_as_it_is(job: Job, tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from pasqal_cloud import PasqalCloudConnection\n"
        "connection = PasqalCloudConnection(username='me@example.org', password='my own', project_id='mine')\n"
        "print(list(connection.fetch_available_devices()))\n"
    )
    done = job.run(program, tmp_path, PYTHONPATH=str(HOOK))
    assert (done.returncode, done.stdout) == (0, "['FRESNEL']\n"), done.stderr


def test_our_driver_runs_through_the_gateway(site: Doored) -> None:
    job = site.granted("paris", uid=1003)
    block = {key.removeprefix("paris_"): value for key, value in job.environment.items() if key.startswith("paris_")}
    resource = PasqalCloud.from_environment("paris", block, JobContext())
    assert resource.status().status is ResourceStatusCode.ONLINE
    assert json.loads(resource.target().value)[0]["device_type"] == "FRESNEL"
    task = resource.task_start(CASE.payload(1))
    assert resource.task_wait([task], timeout=60)
    CASE.verify(resource.task_output(task), 1)
    (noted,) = (task for task in tasks(site, job) if task.shots is not None)
    assert (noted.outcome, noted.shots, noted.program) == ("completed", 11, "FRESNEL")
    assert noted.ended is not None
    site.release(job)


def test_what_is_not_the_jobs_is_refused_with_the_reason(site: Doored, job: Job) -> None:
    tokyo = site.granted("tokyo", uid=1001)
    for more, said in (
        ({"device_type": "FRESNEL_CAN1"}, "this job's device type is FRESNEL: it may not use 'FRESNEL_CAN1'"),
        ({"device_type": ["FRESNEL"]}, "may not use"),
        ({"webhook": "http://127.0.0.1:9/"}, "webhooks are not for batches of this site's project"),
        ({"user_id": "auth0|1"}, "a batch cannot have 'user_id' here"),
    ):
        status, told = job.ask("POST", f"{CORE}/v1/batches", body(**more))
        assert (status, said in told["message"]) == (403, True), told
        assert told["data"] == {"description": told["message"]}
    status, told = tokyo.ask("POST", CORE.replace("paris", "tokyo") + "/v1/batches", body(device_type="EMU_FREE"))
    assert (status, "may not use 'EMU_FREE'" in told["message"]) == (403, True)
    assert job.ask("POST", f"{CORE}/v1/batches", b'{"device_type": null, "device_type": "EMU_FREE"}')[0] == 400
    assert job.ask("GET", f"{CORE}/v1/devices/specs/FRESNEL_CAN1")[0] == 403
    for method, path, said in (
        ("POST", "/v1/workloads", "send batches"),
        ("GET", "/v2/workloads/1", "send batches"),
        ("POST", "/v1/cudaq/job", "CUDA-Q"),
        ("POST", "/v1/third-party-access/ovh/batches", "PasqalCloudConnection"),
    ):
        status, told = job.ask(method, CORE + path, {})
        assert (status, said in told["message"]) == (403, True), told
    for method, path in (("DELETE", "/v2/batches/1"), ("GET", "/v3/batches"), ("PUT", "/v2/jobs")):
        status, told = job.ask(method, CORE + path)
        assert (status, told["status"]) == (404, "fail")
    site.release(tokyo)


ROUTES = [
    ("GET", "/v2/batches/{batch}", None),
    ("GET", "/v1/batches/{batch}/status", None),
    ("GET", "/v1/batches/{batch}/full_results", None),
    ("POST", "/v2/batches/{batch}/jobs", [{"runs": 1}]),
    ("PATCH", "/v2/batches/{batch}/complete", None),
    ("PATCH", "/v2/batches/{batch}/cancel", None),
    ("PATCH", "/v2/batches/{batch}/cancel/jobs", None),
    ("PATCH", "/v1/batches/{batch}/tags", ["x"]),
    ("POST", "/v1/batches/{batch}/rebatch", None),
    ("GET", "/v2/jobs/{job}", None),
    ("GET", "/v1/jobs/{job}/status", None),
    ("GET", "/v1/jobs/{job}/results_link", None),
    ("PATCH", "/v2/jobs/{job}/cancel", None),
]


def test_nobody_sees_or_touches_what_is_anothers(site: Doored) -> None:
    jobs = [site.granted("paris", uid=uid, account=account) for uid, account in ((1, "a"), (1, "b"), (2, "a"))]
    batches = [made(job, open=True, tags=["shared"]) for job in jobs]
    for job, batch in zip(jobs, batches, strict=True):
        ended(job, batch["id"])
    ids = [job.ask("GET", f"{CORE}/v2/jobs?batch_id={batch['id']}")[1]["data"][0]["id"]
           for job, batch in zip(jobs, batches, strict=True)]  # fmt: skip
    links = [job.ask("GET", f"{CORE}/v1/jobs/{one}/results_link")[1]["data"]["results_link"]
             for job, one in zip(jobs, ids, strict=True)]  # fmt: skip
    assert all(links)
    for number, job in enumerate(jobs):
        for other in {0, 1, 2} - {number}:
            for method, path, sent in ROUTES:
                theirs = path.format(batch=batches[other]["id"], job=ids[other])
                nobodys = path.format(batch=NOBODY, job=NOBODY)
                status, told = job.ask(method, CORE + theirs, sent)
                again, as_told = job.ask(method, CORE + nobodys, sent)
                assert status == again == 404
                asked = batches[other]["id"] if "{batch}" in path else ids[other]
                assert json.loads(json.dumps(told).replace(asked, NOBODY)) == as_told
            for query in (
                "v1/batches?", "v1/batches?tag=shared", f"v1/batches?id={batches[other]['id']}", "v2/jobs?",
                f"v2/jobs?batch_id={batches[other]['id']}", f"v2/jobs?id={ids[other]}",
                f"v2/jobs?batch_id={batches[other]['id']}&batch_id={batches[number]['id']}",
            ):  # fmt: skip
                status, told = job.ask("GET", f"{CORE}/{query}")
                shown = {each.get("batch_id", each["id"]) for each in told["data"]}
                assert (status, shown <= {batches[number]["id"]}) == (200, True), query
            told = job.ask("PATCH", f"{CORE}/v1/batches/cancel", {"batch_ids": [batches[other]["id"], NOBODY]})[1]
            assert told["data"]["batches"] == []
            assert set(told["data"]["errors"]) == {batches[other]["id"], NOBODY}
        assert job.ask("GET", f"{CORE.replace('paris', 'tokyo')}/v1/batches")[0] == 403
        assert ended(job, batches[number]["id"])["jobs_count_per_status"] == {"DONE": 1}
    later = site.granted("paris", uid=1, account="a")
    site.release(jobs[0])
    for method, path, sent in ROUTES:
        path = path.format(batch=batches[0]["id"], job=ids[0])
        assert jobs[0].ask(method, CORE + path, sent)[0] == 401
    assert jobs[0].ask("GET", links[0].removeprefix(site.url))[0] == 401
    assert [each["id"] for each in later.ask("GET", f"{CORE}/v1/batches")[1]["data"]] == [batches[0]["id"]]
    for each in (later, *jobs[1:]):
        site.release(each)


def test_a_token_is_the_password_and_ends_with_the_lease(site: Doored) -> None:
    job = site.granted("paris", uid=7)

    def login(**form: str) -> tuple[int, Any]:
        headers = {"Authorization": "", "Content-Type": "application/x-www-form-urlencoded"}
        return job.ask("POST", "/r/paris/oauth/token", urlencode(form).encode(), headers=headers)

    password = {"grant_type": "password", "username": "me", "password": job.token}
    service = {"grant_type": "client_credentials", "client_id": "me", "client_secret": job.token}
    status, told = login(**password)
    assert status == login(**service)[0] == 200
    assert job.ask("GET", f"{CORE}/v1/batches", token=told["access_token"])[0] == 200
    status, refused = login(**{**password, "password": "my real password"})
    assert (status, refused["error"]) == (401, "invalid_grant")
    assert "QRMI_PASQAL_TOKEN" in refused["error_description"]
    site.release(job)
    assert login(**password)[0] == 401
    for token in (job.token, told["access_token"]):
        assert job.ask("GET", f"{CORE}/v1/batches", token=token)[0] == 401


@pytest.fixture(scope="module")
def troubled(daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Faults, Site, Doored]]:
    faults = Faults(retry_after="7")
    with CASE.start(faults=faults) as vendor:
        directory = tmp_path_factory.mktemp("troubled")
        with doored(directory, daemons.socket, [entry(vendor)]) as running:
            yield faults, vendor, running


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("error", 500),
        ("error_after", 200),
        ("too_many", 429),
        ("unavailable", 503),
        ("reset_before", 200),
        ("reset_after", 200),
        ("truncated", 200),
        ("cut_json", 200),
    ],
)
def test_a_batch_is_taken_once_whatever_becomes_of_the_answer(
    troubled: tuple[Faults, Site, Doored], fault: str, expected: int
) -> None:
    faults, vendor, site = troubled
    job, before = site.granted("paris", uid=1), vendor.emulator.devices[0].runs
    faults.next_faults.append(("POST /core-fast/api/v1/batches", fault))
    status, headers, told = job.asked("POST", f"{CORE}/v1/batches", body())
    assert status == expected, told
    assert vendor.emulator.devices[0].runs == before + (expected == 200)
    assert headers.get("retry-after") == ("7" if fault == "too_many" else None)
    assert "qrmi-" not in json.dumps(told)
    assert len(job.ask("GET", f"{CORE}/v1/batches?id={told.get('data', {}).get('id', NOBODY)}")[1]["data"]) == (
        expected == 200
    )
    site.release(job)


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "truncated"])
def test_what_only_reads_is_asked_again(troubled: tuple[Faults, Site, Doored], fault: str) -> None:
    faults, _, site = troubled
    job = site.granted("paris", uid=1)
    batch = made(job)
    faults.next_faults.append(("GET /core-fast/api/v2/batches", fault))
    assert job.ask("GET", f"{CORE}/v2/batches/{batch['id']}")[0] == 200
    site.release(job)


def test_an_answer_that_nobody_can_look_up_is_told_as_unknown(troubled: tuple[Faults, Site, Doored]) -> None:
    faults, _, site = troubled
    job = site.granted("paris", uid=1)
    faults.next_faults += [
        ("POST /core-fast/api/v1/batches", "reset_after"),
        ("GET /core-fast/api/v1/batches", "error"),
    ]
    status, told = job.ask("POST", f"{CORE}/v1/batches", body())
    assert (status, told["status"]) == (503, "error")
    assert "nobody knows whether Pasqal's cloud took it" in told["message"]
    site.release(job)


def test_a_batch_that_nobody_knows_of_is_cancelled_with_its_lease(daemons: Munged, tmp_path: Path) -> None:
    clock = Clock()
    clock.seconds = 600.0
    with CASE.start(service_time=clock) as vendor, doored(tmp_path, daemons.socket, [entry(vendor)]) as site:
        other, job = site.granted("paris", uid=1), site.granted("paris", uid=2)
        stays = made(other)["id"]
        vendor.emulator.faults.next_faults += [("POST /core-fast/api/v1/batches", "reset_after")]
        vendor.emulator.faults.next_faults += [("GET /core-fast/api/v1/batches", "error")]
        assert job.ask("POST", f"{CORE}/v1/batches", body())[0] == 503
        batches = vendor.emulator.dialect._batches
        (lost,) = batches.keys() - {stays}
        site.release(job)
        assert ended(other, stays)["status"] in {"PENDING", "RUNNING"}
        resource = vendor.resource(PasqalCloud)
        assert polling.wait_until(lambda: resource.task_status(lost) is TaskStatus.CANCELLED, timeout=30)


def test_a_token_of_the_site_that_has_expired_is_renewed(daemons: Munged, tmp_path: Path) -> None:
    with CASE.start(options=DialectOptions(token_seconds=2)) as vendor:
        values = vendor.environment
        with doored(tmp_path, daemons.socket, [entry(vendor)]) as site:
            job = site.granted("paris", uid=1)
            batch = made(job)
            vendor.emulator.dialect._accounts._signing = b"another key"
            assert job.ask("GET", f"{CORE}/v2/batches/{batch['id']}")[0] == 200
            logs = json.dumps([*job.environment.values()])
            assert values["QRMI_PASQAL_CLOUD_CLIENT_SECRET"] not in logs
            site.release(job)


GARBAGE = [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 2000, b'{"a":' * 600, b"\x1f\x8b\x08", b'{"jobs": 1e400}',
    b'{"tags": ["\\ud800"]}',
]  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE)
def test_garbage_is_refused(job: Job, body: bytes) -> None:
    for method, path in (
        ("POST", "v1/batches"), ("PATCH", "v1/batches/cancel"), ("PATCH", "v1/batches/x/tags"),
        ("POST", "v2/batches/%20/jobs"), ("GET", "v1/batches?limit=x"), ("GET", "v2/jobs?offset=-1"),
        ("GET", "v1/batches?zz=1"), ("GET", "v2/jobs/..%2f"),
    ):  # fmt: skip
        for encoding in ("identity", "gzip"):
            status, told = job.ask(method, f"{CORE}/{path}", body, headers={"Content-Encoding": encoding})
            assert (status in {400, 403, 404}, told["status"]) == (True, "fail"), (path, status, told)
