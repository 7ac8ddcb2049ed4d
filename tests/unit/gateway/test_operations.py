# SPDX-License-Identifier: Apache-2.0
"""The gateway while it runs: a hangup changes what it goes on with, and an end answers who waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import logging
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from door_case import PATIENCE, TYPE, PlainDoor, Vendor
from doored import Doored, doored
from gateway_case import RESOURCES, Case
from munge_daemon import Munged

from qrmi_core import ConfigurationError, polling
from qrmi_core.gateway.doors import doors
from qrmi_core.gateway.doors.door import Door

HELD = 50


@pytest.fixture(autouse=True)
def plain_door(monkeypatch: pytest.MonkeyPatch) -> None:
    def door_type(resource_type: str) -> type[Door] | None:
        return PlainDoor if resource_type == TYPE else None

    monkeypatch.setattr(doors, "door_type", door_type)
    monkeypatch.setattr(PlainDoor, "held", 0)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("first")
    return tmp_path / "key"


@contextlib.contextmanager
def gateway(daemons: Munged, directory: Path, vendor: Vendor, key: Path) -> Iterator[Doored]:
    with doored(directory, daemons.socket, [vendor.resource(key)]) as running:
        yield running


def certificate(directory: Path, authority: trustme.CA, *, key_of: trustme.LeafCert | None = None) -> trustme.LeafCert:
    issued = authority.issue_cert("127.0.0.1")
    (directory / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    (directory / "key.pem").write_bytes((key_of or issued).private_key_pem.bytes())
    return issued


def presented(case: Case, authority: trustme.CA) -> bytes | None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", case.port), timeout=PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True)


def hang_up(case: Case) -> None:
    asyncio.run_coroutine_threadsafe(case.server.reload(), case.loop).result(PATIENCE)


def test_a_hangup_takes_another_certificate_and_breaks_no_connection(
    daemons: Munged, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    first = certificate(tmp_path, authority)
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, tls=tls)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with case.running(), caplog.at_level(logging.INFO):
        lasting = http.client.HTTPSConnection("127.0.0.1", case.port, timeout=PATIENCE, context=context)

        def answers() -> int:
            lasting.request("GET", "/healthz")
            response = lasting.getresponse()
            response.read()
            return response.status

        assert answers() == 200
        kept = lasting.sock
        before = presented(case, authority)
        certificate(tmp_path, authority)
        hang_up(case)
        after = presented(case, authority)
        assert before != after
        assert "certificate and key were read again" in caplog.text
        certificate(tmp_path, authority, key_of=first)
        hang_up(case)
        assert presented(case, authority) == after
        assert "the certificate before stays in use: " in caplog.text
        assert f"tls.key: {tmp_path}/key.pem does not belong to the certificate {tmp_path}/cert.pem" in caplog.text
        (tmp_path / "key.pem").unlink()
        hang_up(case)
        assert presented(case, authority) == after
        assert answers() == 200
        assert lasting.sock is kept
        lasting.close()


def test_a_hangup_whose_configuration_is_refused_says_nothing_of_the_certificate(
    daemons: Munged, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    certificate(tmp_path, authority)
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, tls=tls)
    with case.running(), caplog.at_level(logging.INFO):
        before = presented(case, authority)
        (tmp_path / "key.pem").unlink()
        case.settings["tls"] = {"cert": "/a.pem"}
        case.write(RESOURCES)
        hang_up(case)
        assert "gateway.json: tls.key: this key is missing" in caplog.text
        assert [each.getMessage() for each in caplog.records if "certificate" in each.getMessage()] == []
        assert presented(case, authority) == before


def test_a_hangup_changes_what_is_logged(daemons: Munged, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, log_level="warning")
    with case.running(), caplog.at_level(logging.DEBUG):
        logging.getLogger().setLevel("WARNING")  # as `qrmi gateway serve` does
        for level, is_told in (("warning", False), ("info", True), ("error", False)):
            case.settings["log_level"] = level
            case.write(RESOURCES)
            hang_up(case)
            caplog.clear()
            hang_up(case)
            assert ("the configuration was read again" in caplog.text) == is_told


def test_a_qpu_that_jobs_could_not_use_is_told_at_the_start_and_changes_nothing_at_a_hangup(
    daemons: Munged, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key"
    block = {"QRMI_IQM_ISA_ENDPOINT": "http://127.0.0.1:9", "QRMI_IQM_ISA_TOKEN": {"file": str(key)}}
    garnet = {"name": "garnet", "type": "iqm-server", "environment": block}
    case = Case(tmp_path, daemons.socket, resources=[*RESOURCES, garnet])
    with case.running():
        assert polling.wait_until(lambda: "jobs cannot use garnet" in caplog.text, timeout=PATIENCE)
        assert str(key) in caplog.text
        key.write_text("token")
        hang_up(case)
        key.unlink()
        caplog.clear()
        case.write([*RESOURCES, garnet, {**garnet, "name": "emerald"}])
        hang_up(case)
        assert "the configuration is not taken, the one before stays in force" in caplog.text
        assert "emerald" not in case.server.gateway.resources.resources


def test_a_key_that_asks_for_a_password_is_a_mistake(daemons: Munged, tmp_path: Path) -> None:
    issued = certificate(tmp_path, trustme.CA())
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(locked)
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, tls=tls)
    with pytest.raises(ConfigurationError, match=rf"tls.key: {tmp_path}/key.pem has a password.*: write a key without"):
        enter(case)


def enter(case: Case) -> None:
    with case.running():
        pass


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("cert.pem", None, r"tls.cert: {}/cert.pem cannot be read: No such file or directory: name one"),
        ("key.pem", None, r"tls.key: {}/key.pem cannot be read: No such file or directory: name one"),
        ("cert.pem", "", r"tls.cert: there is no certificate in PEM in {}/cert.pem: name"),
        ("key.pem", "0\x82", r"tls.key: there is no private key in PEM in {}/key.pem: name"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n",
            r"tls: certificate {}/cert.pem and key {}/key.pem cannot be used: .*openssl x509",
        ),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_is_named(
    daemons: Munged, tmp_path: Path, name: str, content: str | None, expected: str
) -> None:
    certificate(tmp_path, trustme.CA())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, tls=tls)
    with pytest.raises(ConfigurationError, match=f"gateway.json: {expected.replace('{}', str(tmp_path))}"):
        enter(case)


@pytest.mark.parametrize("kind", list(trustme.KeyType))
def test_the_key_of_another_certificate_is_told(daemons: Munged, tmp_path: Path, kind: trustme.KeyType) -> None:
    authority = trustme.CA()
    certificate(tmp_path, authority, key_of=authority.issue_cert("127.0.0.1", key_type=kind))
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, tls=tls)
    expected = f"gateway.json: tls.key: {tmp_path}/key.pem does not belong to the certificate {tmp_path}/cert.pem: name"
    with pytest.raises(ConfigurationError, match=expected):
        enter(case)


def test_a_hangup_takes_another_credential_and_lets_requests_end(
    daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path
) -> None:
    with gateway(daemons, tmp_path, vendor, key) as case, concurrent.futures.ThreadPoolExecutor() as threads:
        job = case.granted("garnet")
        assert job.ask("GET", "/r/garnet/tasks/a")[0] == 200
        way = next(iter(case.gateway.doors._upstreams.values()))
        vendor.arrived.acquire(timeout=PATIENCE)
        vendor.open.clear()
        asked = threads.submit(job.ask, "GET", "/r/garnet/tasks/b")
        assert vendor.arrived.acquire(timeout=PATIENCE)
        key.write_text("second")
        hang_up(case)
        assert way.is_open
        vendor.open.set()
        assert asked.result(PATIENCE) == (200, {"number": 2, "path": "/b"})
        assert polling.wait_until(lambda: not way.is_open, timeout=PATIENCE)
        assert job.ask("GET", "/r/garnet/tasks/c")[0] == 200
        assert vendor.tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_hangup_changes_what_jobs_are_told_but_not_where_is_listened(
    daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway(daemons, tmp_path, vendor, key) as case:
        case.settings["public_url"] = "https://gateway.example:7812/"
        case.write([vendor.resource(key), vendor.resource(key, "ruby")])
        hang_up(case)
        url = case.granted("ruby").environment["ruby_QRMI_IQM_ISA_ENDPOINT"]
        assert url == "https://gateway.example:7812/r/ruby"
        case.settings["tls"] = {"cert": "/a", "key": "/b"}
        case.settings["listen"] = {**case.settings["listen"], "metrics": "127.0.0.1:0"}
        case.write([vendor.resource(key)])
        hang_up(case)
        assert "listen, tls cannot change while it runs: start the gateway anew" in caplog.text
        assert case.granted("ruby").token


def test_polls_that_are_held_are_answered_when_it_ends(
    daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path
) -> None:
    with concurrent.futures.ThreadPoolExecutor(HELD) as threads:
        with gateway(daemons, tmp_path, vendor, key) as case:
            job = case.granted("garnet")
            polls = [threads.submit(job.ask, "GET", "/r/garnet/held") for _ in range(HELD)]
            assert polling.wait_until(lambda: PlainDoor.held == HELD, timeout=PATIENCE)
        assert [each.result(PATIENCE) for each in polls] == [(200, {"state": "running"})] * HELD


def test_a_submission_that_goes_on_is_noted_when_it_ends(
    daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as threads:
        with gateway(daemons, tmp_path, vendor, key) as case:
            job = case.granted("garnet")
            vendor.open.clear()
            submitting = threads.submit(job.ask, "POST", "/r/garnet/tasks")
            assert vendor.arrived.acquire(timeout=PATIENCE)
            case.loop.call_soon_threadsafe(case.loop.call_later, 0.3, vendor.open.set)
        assert submitting.result(PATIENCE) == (200, {"id": "task-0 200"})
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        assert journal.execute("SELECT lease, resource, task_id FROM tasks").fetchall() == [
            (job.lease, "garnet", "task-0")
        ]


def test_a_head_that_does_not_end_is_closed_and_a_poll_is_held(
    daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Doored(tmp_path, daemons.socket, [vendor.resource(key)])
    monkeypatch.setenv("PATH", case.path)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        with case.running(head_seconds=1.0):
            job = case.granted("garnet")
            poll = threads.submit(job.ask, "GET", "/r/garnet/held")
            assert polling.wait_until(lambda: PlainDoor.held == 1, timeout=PATIENCE)
            for half in (b"", b"GET /r/garnet/held HTTP/1.1\r\nHost: x\r\nAuthor"):
                with socket.create_connection(("127.0.0.1", case.jobs_port), timeout=PATIENCE) as connection:
                    connection.sendall(half)
                    assert connection.recv(100) == b""
            assert not poll.done()
        assert poll.result(PATIENCE)[0] == 200


def test_what_comes_to_the_doors_is_in_the_figures(daemons: Munged, tmp_path: Path, vendor: Vendor, key: Path) -> None:
    with gateway(daemons, tmp_path, vendor, key) as case:
        job = case.granted("garnet")
        vendor.statuses[:] = [200, 200, 503]
        told = [
            job.ask("POST", "/r/garnet/tasks"), job.ask("GET", "/r/garnet/tasks/secret-id"),
            job.ask("GET", "/r/garnet/tasks/b"), job.ask("GET", "/r/garnet/tasks/b", token="x"),
            job.ask("GET", "/nowhere"), job.ask("GET", "/r/garnet/broken"),
        ]  # fmt: skip
        assert [status for status, _ in told] == [200, 200, 503, 401, 404, 500]
        text = case.gateway.metrics.snapshot([]).text().decode()
    for line in (
        'qrmi_tasks_submitted_total{program="",resource="garnet"} 1.0',
        f'qrmi_refusals_total{{door="{TYPE}",status="401"}} 1.0',
        'qrmi_refusals_total{door="",status="404"} 1.0',
        'qrmi_vendor_errors_total{kind="503",resource="garnet"} 1.0',
        f'qrmi_door_request_seconds_count{{door="{TYPE}",method="GET",route="/r/{{resource}}/tasks/{{id}}"}} 2.0',
        f'qrmi_door_request_seconds_count{{door="{TYPE}",method="POST",route="/r/{{resource}}/tasks"}} 1.0',
    ):
        assert line in text
    for secret in ("secret-id", job.token, job.lease, "first"):
        assert secret not in text
    assert "a fault of the gateway's" not in json.dumps(told)
