# SPDX-License-Identifier: Apache-2.0
"""A Warden behind the gateway: its own API as the job's user, and programs for Pasqal's cloud, unchanged."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from helper_site import _SERVE
from munge_daemon import Munged, munged
from pasqal_local_case import payload, pulse, verify, warden
from vendor_site import Clock, Site

from qrmi_core import JobContext, munge, polling
from qrmi_core.drivers.pasqal_local import PasqalLocal
from qrmi_core.gateway.faults import Faults
from qrmi_core.gateway.helper_client import HelperClient
from qrmi_core.leases import JournalUnavailable, LeaseRecord, LeaseTask
from qrmi_core.vendor_environment import HOOK

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the root helper runs as root")

CORE = "/r/orion/core-fast/api"
NOBODY = "00000000-0000-4000-8000-000000000000"
ALICE, BOB = (pwd.getpwnam(name).pw_uid for name in ("nobody", "daemon"))
SEQUENCE = pulse(math.pi).to_abstract_repr()


@dataclass
class Premises:
    """A Warden, the gateway before it, and what makes credentials of its users."""

    vendor: Site
    gateway: Doored
    helper: HelperClient
    faults: Faults

    def ask(
        self, job: Job, uid: int, method: str, path: str, body: Any = None, *, session: str | None = None
    ) -> tuple[int, Any]:
        """A request to Warden's own API."""
        headers = {"Authorization": "", "X-Munge-Cred": self.helper.munge_user(uid)}
        headers |= {"X-Warden-Session": session} if session else {}
        return job.ask(method, f"/r/orion{path}", body, headers=headers)

    def session(self, job: Job) -> str:
        """The job's session at Warden."""
        record = self.gateway.keeper.current(job.lease)
        assert record is not None
        return record.acquisition("orion").token or ""

    def tasks(self, job: Job) -> list[LeaseTask]:
        """What the books have of a job."""
        record = self.gateway.keeper.current(job.lease)
        assert record is not None
        return self.gateway.gateway.doors.books.of_lease(record, "orion")


@pytest.fixture(scope="module")
def own_daemons() -> Iterator[Munged]:
    with munged() as both:
        Path(both.socket).parent.chmod(0o755)
        yield both


@contextlib.contextmanager
def helping(case: Doored) -> Iterator[HelperClient]:
    """The root helper of a gateway."""
    log = case.directory / "helper.log"
    with (
        log.open("wb") as out,
        subprocess.Popen([sys.executable, "-c", _SERVE, str(case.file)], stderr=out) as process,
    ):
        try:
            ready = polling.wait_until(
                lambda: process.poll() is not None or "for user 0" in log.read_text(), timeout=20
            )
            assert ready, log.read_text()
            assert process.poll() is None, log.read_text()
            yield HelperClient(case.settings["helper_socket"])
        finally:
            process.terminate()


def entry(vendor: Site, **more: Any) -> dict[str, Any]:
    environment = {**vendor.environment, "QRMI_MIN_POLL": "0"}
    return {
        "name": "orion", "type": "pasqal-local", "lanes": 50, "access": "gateway", "environment": environment, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def premises(own_daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Premises]:
    faults, directory = Faults(), tmp_path_factory.mktemp("gateway")
    directory.chmod(0o755)
    socket = str(directory / "helper.sock")
    with (
        warden(own_daemons, faults=faults, service_time=Clock()) as vendor,
        doored(directory, own_daemons.socket, [entry(vendor)], helper_socket=socket) as gateway,
        helping(gateway) as helper,
    ):
        yield Premises(vendor, gateway, helper, faults)


@pytest.fixture
def job(premises: Premises) -> Iterator[Job]:
    made = premises.gateway.granted("orion", uid=ALICE)
    yield made
    premises.gateway.release(made)


def made(job: Job, jobs: Any = ({"runs": 10},), **more: Any) -> dict[str, Any]:
    body = {"sequence_builder": SEQUENCE, "jobs": list(jobs), "project_id": "x", **more}
    status, told = job.ask("POST", f"{CORE}/v1/batches", body)
    assert status == 200, told
    return dict(told["data"])


def test_the_jobs_own_driver_runs_as_the_jobs_user(premises: Premises, job: Job) -> None:
    block = {key.removeprefix("orion_"): value for key, value in job.environment.items() if key.startswith("orion_")}
    assert block["QRMI_WARDEN_URL"] == f"{job.url}/r/orion"
    resource = PasqalLocal.from_environment("orion", block, JobContext(premises.session(job), uid=ALICE, job_id="1"))
    resource.credentials_from(root=premises.helper.munge_root, user=lambda: premises.helper.munge_user(ALICE))
    task = resource.task_start(payload(1))
    assert resource.task_wait([task], timeout=60)
    verify(resource.task_output(task), 1)
    (noted,) = premises.tasks(job)
    assert (noted.shots, noted.outcome) == (11, "completed")
    assert resource.task_ids() == [noted.task_id]
    resource.task_stop(task)
    assert resource.status().healthy


def test_wardens_api_is_open_to_the_user_with_a_lease_and_his_session_only(premises: Premises, job: Job) -> None:
    other = premises.gateway.granted("orion", uid=BOB)
    body = {"sequence": SEQUENCE, "shots": 5}
    number = premises.ask(job, ALICE, "POST", "/jobs", body, session=premises.session(job))[1]["id"]
    theirs = premises.ask(other, BOB, "POST", "/jobs", body, session=premises.session(other))[1]["id"]
    for session in (premises.session(other), NOBODY, None):
        status, told = premises.ask(job, ALICE, "POST", "/jobs", body, session=session)
        assert (status, "not that of a job of this user" in told["detail"]) == (403, True)
    for method, path in (("GET", "/jobs/{}"), ("POST", "/jobs/{}/cancel"), ("GET", "/jobs/{}/logs")):
        answers = [premises.ask(job, ALICE, method, path.format(each)) for each in (theirs, 2**30)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert {each["id"] for each in premises.ask(job, ALICE, "GET", "/jobs")[1]} >= {number}
    assert theirs not in {each["id"] for each in premises.ask(job, ALICE, "GET", "/jobs")[1]}
    assert premises.ask(job, ALICE, "POST", "/sessions", {"user_id": "0", "slurm_job_id": "1"})[0] == 403
    for extra in ({"user_id": "0"}, {"shots": "5"}):
        status, _ = premises.ask(job, ALICE, "POST", "/jobs", {**body, **extra}, session=premises.session(job))
        assert status == 422
    credential = premises.helper.munge_user(ALICE)
    for expected in (200, 401):  # good once
        headers = {"Authorization": "", "X-Munge-Cred": credential}
        assert job.ask("GET", "/r/orion/qpu/specs", headers=headers)[0] == expected
    assert job.ask("GET", "/r/orion/jobs")[0] == 401
    for carried, said in ((b"qrmi1 GET /v1/leases", "it carries something"), (b"", "not one of this gateway")):
        headers = {"X-Munge-Cred": munge.encode(carried, socket=premises.gateway.munge_socket)}
        status, told = job.ask("GET", "/r/orion/jobs", headers=headers)
        assert (status, said in told["detail"]) == (401, True), told
    session, late = premises.session(other), [premises.helper.munge_user(BOB) for _ in range(2)]
    premises.gateway.release(other)
    for method, path, sent in (("GET", f"/jobs/{theirs}", None), ("POST", "/jobs", body)):
        headers = {"Authorization": "", "X-Munge-Cred": late.pop(), "X-Warden-Session": session}
        assert job.ask(method, f"/r/orion{path}", sent, headers=headers)[0] == 401


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
again.set_tags(["a", "b"])
print(client.get_batches(BatchFilters(tag="a")).total, again.tags)
""",
            "DONE [{'1': 100}, {'1': 50}]\nDONE [10, 20]\nDONE 1\n2 2\n1 ['a', 'b']\n",
        ),
        (
            """
from pulser import Pulse, QPUBackend, Register, Sequence
connection = PasqalCloudConnection(**arguments)
(device,) = connection.fetch_available_devices().values()
template = Sequence(Register.from_coordinates([(0, 0)], prefix="q").with_automatic_layout(device), device)
template.declare_channel("rydberg", "rydberg_global")
area = template.declare_variable("area", dtype=float)
template.add(Pulse.ConstantPulse(500, area / 0.5, 0, 0), "rydberg")
backend = QPUBackend(template, connection=connection)
jobs = [{"runs": 100, "variables": {"area": 3.14159265}}, {"runs": 50, "variables": {"area": 0.0}}]
print([dict(result.final_bitstrings) for result in backend.run(job_params=jobs, wait=True).results])
with backend.open_batch() as opened:
    results = backend.run(job_params=jobs[1:], wait=True)
print(dict(results[0].final_bitstrings), results.get_batch_status().name)
""",
            "[{'1': 100}, {'0': 50}]\n{'0': 50} DONE\n",
        ),
    ],
    ids=["client", "connection"],
)
def test_unmodified_programs_of_the_cloud_run(job: Job, tmp_path: Path, program: str, expected: str) -> None:
    head = """
import os
from pasqal_cloud import PasqalCloudConnection
from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient
from pasqal_cloud.utils.filters import BatchFilters, RebatchFilters
sequence = os.environ["SEQUENCE"]
arguments = dict(username="me@example.org", password="my own", project_id="mine")
"""
    done = job.run(head + program, tmp_path, SEQUENCE=SEQUENCE, PYTHONPATH=str(HOOK))
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_what_warden_cannot_do_is_refused_with_the_reason(job: Job) -> None:
    for more, status, said in (
        ({"device_type": "EMU_FREE"}, 403, "which has no emulators: it may not use 'EMU_FREE'"),
        ({"backend_configuration": "{}"}, 400, "gives bitstrings and no other observables"),
        ({"webhook": "http://127.0.0.1:9/"}, 403, "webhooks"),
        ({"jobs": [{"variables": {}}]}, 400, "a QPU needs the number of runs"),
        ({"jobs": [{"runs": 5, "variables": {"nothing": 1}}], "sequence_builder": "{}"}, 400, "cannot be read"),
        ({"unknown": 1}, 400, "a batch has no field unknown"),
    ):
        answer, told = job.ask(
            "POST", f"{CORE}/v1/batches", {"sequence_builder": SEQUENCE, "jobs": [{"runs": 5}], **more}
        )
        assert (answer, said in told["message"]) == (status, True), told
    assert job.ask("POST", f"{CORE}/v1/batches", b'{"jobs": [], "jobs": []}')[0] == 400
    assert job.ask("POST", f"{CORE}/v1/workloads", {})[0] == 403


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


def test_nobody_sees_or_touches_what_is_anothers(premises: Premises) -> None:
    site = premises.gateway
    jobs = [
        site.granted("orion", uid=uid, account=account) for uid, account in ((ALICE, "a"), (ALICE, "b"), (BOB, "a"))
    ]
    batches = [made(job, open=True, tags=["shared"]) for job in jobs]
    ids = [batch["job_ids"][0] for batch in batches]
    for job, batch in zip(jobs, batches, strict=True):
        assert job.ask("GET", f"{CORE}/v1/batches/{batch['id']}/status")[1]["data"]["jobs_count_per_status"] == {
            "DONE": 1
        }
    links = [job.ask("GET", f"{CORE}/v1/jobs/{one}/results_link")[1]["data"]["results_link"]
             for job, one in zip(jobs, ids, strict=True)]  # fmt: skip
    for number, job in enumerate(jobs):
        for other in {0, 1, 2} - {number}:
            for method, path, sent in ROUTES:
                status, told = job.ask(method, CORE + path.format(batch=batches[other]["id"], job=ids[other]), sent)
                again, as_told = job.ask(method, CORE + path.format(batch=NOBODY, job=NOBODY), sent)
                assert status == again == 404
                asked = batches[other]["id"] if "{batch}" in path else ids[other]
                assert json.loads(json.dumps(told).replace(asked, NOBODY)) == as_told
            for query in (
                "v1/batches?", "v1/batches?tag=shared", f"v1/batches?id={batches[other]['id']}", "v2/jobs?",
                f"v2/jobs?batch_id={batches[other]['id']}", f"v2/jobs?id={ids[other]}",
            ):  # fmt: skip
                status, told = job.ask("GET", f"{CORE}/{query}")
                shown = {each.get("batch_id", each["id"]) for each in told["data"]}
                assert (status, shown <= {batches[number]["id"]}) == (200, True), query
            told = job.ask("PATCH", f"{CORE}/v1/batches/cancel", {"batch_ids": [batches[other]["id"], NOBODY]})[1]
            assert told["data"]["batches"] == []
        counter = job.ask("GET", links[number].removeprefix(site.url), headers={"Authorization": ""})[1]["counter"]
        assert counter == {"1": 10}
    later = site.granted("orion", uid=ALICE, account="a")
    site.release(jobs[0])
    for method, path, sent in ROUTES:
        assert jobs[0].ask(method, CORE + path.format(batch=batches[0]["id"], job=ids[0]), sent)[0] == 401
    assert jobs[0].ask("GET", links[0].removeprefix(site.url))[0] == 401
    assert [each["id"] for each in later.ask("GET", f"{CORE}/v1/batches")[1]["data"]] == [batches[0]["id"]]
    for each in (later, *jobs[1:]):
        site.release(each)


@pytest.mark.parametrize(("fault", "expected"), [("error", 500), ("too_many", 429), ("reset_after", 503)])
def test_troubles_of_warden_are_told_as_they_are(premises: Premises, job: Job, fault: str, expected: int) -> None:
    premises.faults.next_faults.append(("POST /jobs", fault))
    body = {"sequence_builder": SEQUENCE, "jobs": [{"runs": 3}], "project_id": "x"}
    status, told = job.ask("POST", f"{CORE}/v1/batches", body)
    assert status == expected, told
    premises.faults.next_faults.append(("GET /jobs/{job}", "reset_before"))
    batch = made(job)
    assert job.ask("GET", f"{CORE}/v1/batches/{batch['id']}/status")[0] == 200


def test_what_cannot_be_noted_is_cancelled(premises: Premises, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_lease: LeaseRecord, task: LeaseTask) -> None:
        if task.kind == "task":
            raise JournalUnavailable("the journal cannot be written now", transient=True)

    monkeypatch.setattr(premises.gateway.gateway.doors.books, "add", full)
    counted = premises.faults.counters.requests["POST /jobs/{job}/cancel"]
    body = {"sequence_builder": SEQUENCE, "jobs": [{"runs": 3}], "project_id": "x"}
    status, told = job.ask("POST", f"{CORE}/v1/batches", body)
    assert (status, "the journal cannot be written now" in told["message"]) == (503, True)
    assert premises.faults.counters.requests["POST /jobs/{job}/cancel"] == counted + 1


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
