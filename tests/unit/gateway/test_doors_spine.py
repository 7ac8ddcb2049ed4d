# SPDX-License-Identifier: Apache-2.0
"""What all doors stand on: job tokens, who is let in by them, the books of tasks, and the way to a vendor."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from door_case import PATIENCE, TYPE, PlainDoor, Vendor
from doored import Doored, doored
from munge_daemon import Munged

from qrmi_core.gateway.doors import doors
from qrmi_core.gateway.doors.books import KEPT_SECONDS, Books
from qrmi_core.gateway.doors.door import Door
from qrmi_core.gateway.doors.tokens import JobTokens
from qrmi_core.gateway.doors.upstream import Authorization, Fixed, Upstream, VendorAway
from qrmi_core.gateway.metrics import Metrics
from qrmi_core.http_settings import HttpSettings
from qrmi_core.leases import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState, LeaseTask
from qrmi_core.leases.sqlite_journal import SqliteJournal

_Answer = TypeVar("_Answer")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with contextlib.closing(SqliteJournal(tmp_path / "journal.sqlite")) as opened:
        yield opened


def do(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def lease(number: int, uid: int = 7, account: str | None = "physics", **changed: Any) -> LeaseRecord:
    holder = Holder(JobKey("c", number, 1000, 0), uid, "anna", account or "", ("n1",))
    acquired = (Acquisition("fez", AcquisitionState.ACQUIRED),)
    record = LeaseRecord(f"{number:032x}", LeaseState.GRANTED, time.time(), None, acquired, holder)
    return replace(record, **changed)


def test_a_token_stands_for_its_lease_and_only_its_digest_is_kept(journal: SqliteJournal, tmp_path: Path) -> None:
    records = [lease(1), lease(2)]
    for record in records:
        journal.write(record)
    tokens = JobTokens(journal)
    tokens.load()
    first, again, other = (do(tokens.mint(record.id)) for record in (records[0], records[0], records[1]))
    assert len({first, again, other}) == 3
    assert [tokens.lease_of(each) for each in (first, again, other)] == [records[0].id] * 2 + [records[1].id]
    for wrong in ("", "x", first[:-1], first + "=", "é" * 20, "x" * 100_000, f"{first}.{first}.{first}"):
        assert tokens.lease_of(wrong) is None
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [each for each in (first, again, other) if each.encode() in kept]
    later = JobTokens(journal)
    later.load()
    assert later.lease_of(again) == records[0].id
    later.revoke(records[0].id)
    assert [later.lease_of(each) for each in (first, again, other)] == [None, None, records[1].id]
    assert later.leases() == [records[1].id]
    after = JobTokens(journal)
    after.load()
    assert after.lease_of(first) is None


def test_tokens_of_leases_that_ended_meanwhile_are_not_taken_up(journal: SqliteJournal) -> None:
    journal.write(lease(1))
    tokens = JobTokens(journal)
    tokens.load()
    token = do(tokens.mint(lease(1).id))
    over = (Acquisition("fez", AcquisitionState.RELEASED),)
    journal.write(lease(1, state=LeaseState.RELEASED, ended=time.time(), acquisitions=over))
    later = JobTokens(journal)
    later.load()
    assert later.lease_of(token) is None
    assert journal.rows("SELECT count(*) FROM tokens") == [(0,)]


def test_a_web_token_outlives_a_restart_and_not_its_time(journal: SqliteJournal) -> None:
    tokens, later = JobTokens(journal), JobTokens(journal)
    tokens.load()
    later.load()
    web = tokens.web_token("abc", seconds=60)
    assert later.lease_of(web) == "abc"
    assert tokens.lease_of(tokens.web_token("abc", seconds=-1)) is None
    header, claims, signature = web.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    forged = base64.urlsafe_b64encode(b'{"sub":"other","exp":9e9}').rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for wrong in (
        f"{header}.{forged}.{signature}", f"{none}.{claims}.", f"{none}.{forged}.", f"{header}.{claims}",
        f"{header}.{claims}.{signature[:-1]}", f"{web}.{web}", f"{web}é", "..", f".{claims}.{signature}",
    ):  # fmt: skip
        assert tokens.lease_of(wrong) is None, wrong


@contextlib.contextmanager
def books(journal: SqliteJournal) -> Iterator[tuple[Books, Metrics, ThreadPoolExecutor]]:
    metrics = Metrics()
    with ThreadPoolExecutor(2) as threads:

        async def note(lease_id: str, task: LeaseTask) -> None:
            await asyncio.wrap_future(journal.add_task(lease_id, task, most=100))

        yield Books(journal, note, threads, metrics), metrics, threads


def ids(tasks: list[LeaseTask]) -> list[str]:
    return [task.task_id for task in tasks]


def test_a_job_knows_its_tasks_and_those_that_its_user_left_behind(journal: SqliteJournal) -> None:
    mine, before, stranger, elsewhere = lease(1), lease(2), lease(3, uid=8), lease(4, account="chemistry")
    for record in (mine, before, stranger, elsewhere):
        journal.write(record)
    old = time.time() - KEPT_SECONDS - 60
    with books(journal) as (known, _, _):
        tasks = [
            (mine, LeaseTask("fez", "own")),
            (mine, LeaseTask("fez", "session", kind="session")),
            (mine, LeaseTask("kyiv", "own-elsewhere")),
            (before, LeaseTask("fez", "earlier", submitted=time.time() - 3600)),
            (before, LeaseTask("fez", "long-ago", submitted=old)),
            (stranger, LeaseTask("fez", "a-strangers")),
            (elsewhere, LeaseTask("fez", "another-accounts")),
        ]
        for record, task in tasks:
            do(known.add(record, task))
        assert ids(known.of_lease(mine, "fez")) == ["own"]
        assert ids(known.of_lease(mine, "fez", "session")) == ["session"]
        assert ids(do(known.readable(mine, "fez"))) == ["own", "earlier"]
        found = {task.task_id for _, task in tasks if do(known.find(mine, "fez", task.task_id))}
        assert found == {"own", "session", "earlier"}
        assert do(known.find(mine, "fez", "own-elsewhere")) is None
        known.forget(mine.id)
        assert known.of_lease(mine, "fez") == []
        assert ids(do(known.readable(mine, "fez"))) == ["own", "earlier"]
    with books(journal) as (later, _, _):
        do(later.load())
        assert ids(later.of_lease(mine, "fez")) == ["own"]
        assert later.of_lease(mine, "fez")[0].submitted is not None


def test_what_came_of_a_task_is_kept_and_counted_once(journal: SqliteJournal) -> None:
    record = lease(1)
    journal.write(record)
    with books(journal) as (known, metrics, threads):
        task = LeaseTask("fez", "t", program="sampler", submitted=10.0)
        do(known.add(record, task))
        known.changed(record, replace(task, started=11.0))
        ended = replace(task, started=11.0, ended=12.0, usage=1.5, shots=100, outcome="completed")
        for _ in range(3):
            known.changed(record, ended)
        assert known.of_lease(record, "fez")[0].outcome == "completed"
        threads.shutdown(wait=True)
        journal.change(lambda _: None).result(10)  # after what nobody waited for
        text = metrics.snapshot([]).text().decode()
    assert 'qrmi_tasks_submitted_total{program="sampler",resource="fez"} 1.0' in text
    assert 'qrmi_tasks_ended_total{outcome="completed",program="sampler",resource="fez"} 1.0' in text
    assert 'qrmi_device_seconds_total{program="sampler",resource="fez"} 1.5' in text
    with books(journal) as (later, _, _):
        (told,) = do(later.usage(uid=7)).tasks
        assert {key: told[key] for key in ("task", "usage_seconds", "shots", "outcome", "account", "job_id")} == {
            "task": "t", "usage_seconds": 1.5, "shots": 100, "outcome": "completed", "account": "physics", "job_id": 1,
        }  # fmt: skip
        assert do(later.usage(uid=8)).tasks == []
        assert do(later.usage(since=11.0)).tasks == []


@pytest.fixture
def plain_door(monkeypatch: pytest.MonkeyPatch) -> None:
    def door_type(resource_type: str) -> type[Door] | None:
        return PlainDoor if resource_type == TYPE else None

    monkeypatch.setattr(doors, "door_type", door_type)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture
def case(daemons: Munged, tmp_path: Path, vendor: Vendor, plain_door: None) -> Iterator[Doored]:
    (tmp_path / "key").write_text("site-key")
    resources = [vendor.resource(tmp_path / "key"), vendor.resource(tmp_path / "key", "ruby")]
    with doored(tmp_path, daemons.socket, resources) as running:
        yield running


def test_a_token_lets_in_at_its_nodes_while_its_lease_lasts(case: Doored, vendor: Vendor) -> None:
    job, other = case.granted("garnet"), case.granted("ruby")
    path = "/r/garnet/tasks/a"
    assert job.ask("GET", path)[0] == 200
    refused = [
        job.ask("GET", path, source="127.0.0.2"), job.ask("GET", path, token="x"),
        job.ask("GET", path, headers={"Authorization": ""}),
        job.ask("GET", path, headers={"Authorization": "Basic eA=="}),
    ]  # fmt: skip
    assert {status for status, _ in refused} == {401}
    assert len({json.dumps(told) for _, told in refused}) == 1
    status, told = other.ask("GET", path)
    assert (status, told["message"]) == (403, "this job has no QPU 'garnet' here")
    asked = len(vendor.tokens)
    case.release(job)
    assert job.ask("GET", path)[0] == 401
    assert len(vendor.tokens) == asked
    case.do(case.gateway.doors.tidy())
    assert case.gateway.doors.tokens.leases() == [other.lease]
    assert other.ask("GET", "/r/ruby/tasks/a")[0] == 200
    assert set(vendor.tokens) == {"Bearer site-key"}


class Renewed(Authorization):
    """A credential that is another one after each rejection."""

    def __init__(self) -> None:
        self.number = 1

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.number}"}

    def rejected(self) -> bool:
        self.number += 1
        return True


def ask(way: Upstream, *requests: str, **options: Any) -> list[int]:
    async def asked() -> list[int]:
        try:
            return [(await way.json(*request.split(" "), **options))[0] for request in requests]
        finally:
            await way.close()

    return do(asked())


def test_a_credential_that_is_not_taken_is_renewed_once(vendor: Vendor) -> None:
    errors: list[tuple[str, str]] = []
    way = Upstream(vendor.url, HttpSettings(), Renewed(), name="garnet")
    way.on_error = lambda *told: errors.append(told)
    vendor.statuses[:] = [401, 200, 401, 401, 429, 400]
    assert ask(way, "GET /a", "POST /b", "GET /c", "GET /d") == [200, 401, 429, 400]
    assert vendor.tokens == ["Bearer 1", "Bearer 2", "Bearer 2", "Bearer 3", "Bearer 3", "Bearer 3"]
    assert errors == [("garnet", "401"), ("garnet", "429")]


def test_what_a_job_sends_does_not_reach_the_vendor_as_a_credential(vendor: Vendor) -> None:
    way = Upstream(vendor.url, HttpSettings(), Fixed({"Authorization": "Bearer site"}), name="garnet")
    headers = {"authorization": "Bearer job", "Cookie": "a=b", "X-Forwarded-For": "n1", "Connection": "close"}
    assert ask(way, "GET /a", headers=headers) == [200]
    assert vendor.tokens == ["Bearer site"]


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
    await reader.readuntil(b"\r\n\r\n")
    if left:
        left.pop()
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _asked_while_cut(method: str, cuts: int) -> tuple[int, int]:
    """The answer's status, and how many connections were not cut, of a server that cuts the first ones."""
    left = [0] * cuts
    server = await asyncio.start_server(lambda reader, writer: _cut(reader, writer, left), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    way = Upstream(f"http://127.0.0.1:{port}", HttpSettings(), Authorization(), name="garnet")
    try:
        status, _ = await way.json(method, "/a")
        return status, len(left)
    finally:
        await way.close()
        server.close()
        await server.wait_closed()


def test_a_read_is_repeated_when_its_connection_breaks() -> None:
    assert do(_asked_while_cut("GET", 2)) == (200, 0)


def test_a_change_is_not_repeated_and_may_have_arrived() -> None:
    with pytest.raises(VendorAway, match="garnet cannot be reached now") as raised:
        do(_asked_while_cut("POST", 1))
    assert raised.value.arrived


def test_where_nobody_listens_nothing_has_arrived() -> None:
    errors: list[str] = []
    way = Upstream("http://127.0.0.1:9", HttpSettings(), Authorization(), name="garnet")
    way.on_error = lambda _, kind: errors.append(kind)
    with pytest.raises(VendorAway, match="garnet cannot be reached now") as raised:
        ask(way, "POST /a")
    assert not raised.value.arrived
    assert errors == ["unreachable"]


def test_certificates_that_cannot_be_read_are_named_and_nothing_has_arrived(tmp_path: Path) -> None:
    settings = HttpSettings(ca=str(tmp_path / "nowhere.pem"))
    way = Upstream("https://127.0.0.1:9", settings, Authorization(), name="garnet")
    with pytest.raises(
        VendorAway, match=r"the gateway cannot read the certificates for it .*nowhere\.pem: No such file"
    ) as raised:
        ask(way, "POST /a")
    assert not raised.value.arrived
