# SPDX-License-Identifier: Apache-2.0
"""The gateway's routes over real connections: who is believed, and what garbage comes to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from gateway_case import RESOURCES, Case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from munge_daemon import Munged

from qrmi_core import ConfigurationError, polling
from qrmi_core.admin_client import AdminClient, GatewayUnreachable
from qrmi_core.client_settings import ClientSettings, load_client_settings
from qrmi_core.errors import AuthenticationFailed, LeaseRefused, ResourceNotFound, VendorError
from qrmi_core.gateway import service
from qrmi_core.leases.journal import JournalUnavailable, LeaseTask
from qrmi_core.leases.keeper import LeaseKeeper

ROUTES = [
    ("POST", "/v1/leases"),
    ("GET", "/v1/leases"),
    ("POST", f"/v1/leases/{'0a' * 16}/node-done"),
    ("POST", f"/v1/leases/{'0a' * 16}/tasks"),
    ("POST", "/v1/jobs/42/node-done"),
    ("POST", "/v1/jobs/42/ending"),
    ("POST", "/v1/jobs/42/release"),
    ("GET", "/v1/resources"),
    ("GET", "/v1/resources/Fez/target"),
    ("GET", "/v1/resources/Fez/status"),
    ("PUT", "/v1/resources/Fez/maintenance"),
    ("DELETE", "/v1/resources/Fez/maintenance"),
]


@pytest.fixture(scope="module")
def gateway(daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(tmp_path_factory.mktemp("gateway"), daemons.socket, node_addresses={"n2": ["127.0.0.2"]})
    with case.running():
        yield case


def test_anybody_sees_whether_it_is_well(gateway: Case) -> None:
    status, told = gateway.ask("GET", "/healthz", headers={})
    assert (status, told) == (200, {"version": 1, "status": "degraded", "journal": "ok", "slurmctld": "unreachable"})


@pytest.mark.parametrize("unix", [True, False])
def test_a_user_sees_the_sites_resources_over_a_socket_and_a_port(gateway: Case, unix: bool) -> None:
    told = {each["name"]: each for each in AdminClient(gateway.client(unix=unix)).resources()}
    assert {key: told["aer"][key] for key in ("type", "lanes", "free", "state", "leases", "access")} == {
        "type": "aer-simulator", "lanes": 2, "free": 2, "state": "online", "leases": 0, "access": "local",
    }  # fmt: skip
    assert (told["Fez"]["state"], told["Fez"]["access"], told["Fez"]["device"]) == ("unknown", "direct", "ibm_fez")
    assert "planted-key" not in json.dumps(told)


@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_every_route_wants_a_credential_for_this_very_request(gateway: Case, method: str, target: str) -> None:
    good = gateway.credential(method, target)
    for headers, body, expected in (
        ({}, b"", "a munge credential was expected"),
        ({"Authorization": "Bearer x"}, b"", "Authorization: MUNGE <credential> was expected"),
        ({"Authorization": "MUNGE MUNGE:AwQFAAA=:"}, b"", "not to be believed"),
        ({"Authorization": gateway.credential("PATCH", target)}, b"", "made for another request"),
        ({"Authorization": gateway.credential(method, f"{target}?a=1")}, b"", "made for another request"),
        ({"Authorization": gateway.credential(method, target)}, b"{}", "made for a request with another body"),
        ({"Authorization": gateway.credential(method, target, nonce="x")}, b"", "not made for this gateway"),
    ):
        status, told = gateway.ask(method, target, body, headers=headers)
        assert (status, told["error"]["transient"]) == (401, False)
        assert expected in told["error"]["reason"]
    assert gateway.ask(method, target, headers={"Authorization": good})[0] != 401
    assert "was used before" in gateway.ask(method, target, headers={"Authorization": good})[1]["error"]["reason"]


def test_a_nonce_is_good_once_also_in_another_credential(gateway: Case) -> None:
    first, second = (gateway.credential("GET", "/v1/leases", nonce="cd" * 16) for _ in range(2))
    assert gateway.ask("GET", "/v1/leases", headers={"Authorization": first})[0] == 200
    status, told = gateway.ask("GET", "/v1/leases", headers={"Authorization": second})
    assert (status, told["error"]["reason"]) == (401, "the munge credential was used before")


def test_two_credentials_are_none(gateway: Case) -> None:
    first, second = (gateway.credential("GET", "/v1/leases") for _ in range(2))
    answer = raw(
        gateway, f"GET /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: {first}\r\nAuthorization: {second}\r\n\r\n"
    )
    assert b"401" in answer.splitlines()[0]
    assert b"one Authorization header was expected" in answer


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/leases", b'{"job_id": 42, "node": "n2", "wait": 1}'),
        ("POST", f"/v1/leases/{'0a' * 16}/node-done", b'{"node": "n2"}'),
        ("POST", f"/v1/leases/{'0a' * 16}/tasks", b'{"resource": "Fez", "task": "t"}'),
        ("POST", "/v1/jobs/42/node-done", b'{"node": "n2", "before": 1}'),
        ("POST", "/v1/jobs/42/release", b"{}"),
        ("GET", "/v1/leases?all=1", b""),
        ("PUT", "/v1/resources/Fez/maintenance", b'{"reason": "cold"}'),
        ("DELETE", "/v1/resources/Fez/maintenance", b""),
    ],
)
def test_what_a_user_may_not_do_is_refused_without_detail(
    gateway: Case, daemons: Munged, method: str, target: str, body: bytes
) -> None:
    status, told = gateway.ask(method, target, body, socket=daemons.other)
    assert (status, told["error"]) == (403, {"reason": "this user and host may not do that", "transient": False})


def test_root_of_a_node_speaks_for_that_node_only(gateway: Case, daemons: Munged) -> None:
    body = {"node": "n2", "before": 1}
    elsewhere = daemons.at("127.0.0.3")
    for socket_, status in ((daemons.at("127.0.0.2"), 200), (elsewhere, 503)):
        got, told = gateway.ask("POST", "/v1/jobs/42/node-done", json.dumps(body).encode(), socket=socket_)
        assert got == status, told


def test_operators_are_those_of_the_file_and_root_on_this_host(gateway: Case, daemons: Munged) -> None:
    target = "/v1/resources/aer/maintenance"
    begun = gateway.ask("PUT", target, b'{"reason": "the fridge is warm"}')
    assert begun == (200, {"version": 1})
    told = {each["name"]: each for each in AdminClient(gateway.client()).resources()}
    assert (told["aer"]["state"], told["aer"]["reason"]) == ("maintenance", "the fridge is warm")
    AdminClient(gateway.client()).end_maintenance("aer")
    assert gateway.ask("PUT", target, b'{"reason": "x"}', socket=daemons.at("127.0.0.9"))[0] == 403


def test_the_clients_errors_say_what_is_wrong(gateway: Case, daemons: Munged) -> None:
    client = AdminClient(gateway.client(unix=True))
    with pytest.raises(ResourceNotFound, match="this site has no QPU 'kyiv': there are Fez, aer"):
        client.target("kyiv")
    with pytest.raises(LeaseRefused, match="aer is a simulator that runs where your program does"):
        client.target("aer")
    with pytest.raises(LeaseRefused, match=r"127.0.0.1:9.* cannot be reached") as refused:
        client.status("Fez")
    assert refused.value.transient
    with pytest.raises(VendorError, match="task: a text of at most 1000 characters in one line"):
        client.add_task("0a" * 16, "Fez", "")
    for path in ("../sessions/12", "12/cancel?x=", "..", "12#"):
        with pytest.raises(VendorError, match="task: the id that the vendor gave was expected"):
            client.add_task("0a" * 16, "Fez", path)
    for word in ("cq1x-7.b_2", "12-13~eJw=+", "urn:12,3", "5f8e0c1a-0000-4000-8000-000000000000"):
        with pytest.raises(AuthenticationFailed, match="may not do that"):
            client.add_task("0a" * 16, "Fez", word)
    with pytest.raises(AuthenticationFailed, match="the gateway refuses: this user and host may not do that"):
        AdminClient(gateway.client(socket=daemons.other)).leases(everybody=True)


def test_without_a_gateway_the_client_says_so(tmp_path: Path, daemons: Munged) -> None:
    for url in (f"unix:{tmp_path}/none.sock", "http://127.0.0.1:9"):
        with pytest.raises(GatewayUnreachable, match=r"the gateway does not answer: .* cannot be reached") as error:
            AdminClient(ClientSettings(url=url, munge_socket=daemons.socket)).leases()
        assert error.value.transient


def written(directory: Path, munge_socket: str, **keys: str) -> Path:
    file = directory / "site.json"
    file.write_text(json.dumps({"munge_socket": munge_socket, **keys}))
    return file


@pytest.mark.parametrize(("dead", "reason"), [(False, "No such file or directory"), (True, "Connection refused")])
def test_a_socket_at_which_nobody_listens_is_named(daemons: Munged, tmp_path: Path, dead: bool, reason: str) -> None:
    path = tmp_path / "none.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        if dead:
            bound.bind(str(path))
        file = written(tmp_path, daemons.socket, url=f"unix:{path}")
        expected = (
            rf"the socket {path} cannot be reached: .*{reason}. Either the gateway does not run, or url in {file} is"
        )
        with pytest.raises(GatewayUnreachable, match=expected) as error:
            AdminClient(load_client_settings(file)).leases()
    assert "localhost" not in str(error.value)


def test_a_socket_that_this_user_may_not_use_says_nothing_of_a_gateway_that_does_not_run(
    daemons: Munged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(socket.socket):
        def connect(self, _: object) -> None:
            raise PermissionError(13, "Permission denied")

    file = written(tmp_path, daemons.socket, url=f"unix:{tmp_path}/x.sock")
    client = AdminClient(load_client_settings(file))
    monkeypatch.setattr("qrmi_core.connections.socket.socket", Forbidden)
    with pytest.raises(GatewayUnreachable, match=rf"Permission denied. This user may not use it; check url in {file}"):
        client.health()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_cannot_be_used_is_named_with_its_key(
    daemons: Munged, tmp_path: Path, content: str | None
) -> None:
    ca = tmp_path / "nope.pem"
    if content is not None:
        ca.write_text(content)
    file = written(tmp_path, daemons.socket, url="https://127.0.0.1:9", ca=str(ca))
    expected = rf"no safe connection to .*{ca}: .*The file is named by ca in {file}: name one that can be used"
    with pytest.raises(GatewayUnreachable, match=expected) as error:
        AdminClient(load_client_settings(file)).leases()
    assert "QRMI_HTTP" not in str(error.value)


def test_a_file_of_authorities_of_the_host_is_no_fault_of_the_clients_file(
    daemons: Munged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.pem").write_text("no certificate")
    monkeypatch.setattr("qrmi_core.trust.USUAL", (str(tmp_path / "roots.pem"),))
    file = written(tmp_path, daemons.socket, url="https://127.0.0.1:8")
    expected = rf"roots.pem: .*the authorities that this host trusts: mend it, or name another by ca in {file}"
    with pytest.raises(GatewayUnreachable, match=expected):
        AdminClient(load_client_settings(file)).leases()


def test_a_port_without_tls_is_named_as_such(gateway: Case, tmp_path: Path) -> None:
    file = written(tmp_path, gateway.munge_socket, url=f"https://127.0.0.1:{gateway.port}")
    expected = rf"speaks no TLS: check url in {file}, whether its port is right, or it must begin with http://"
    with pytest.raises(GatewayUnreachable, match=expected):
        AdminClient(load_client_settings(file)).leases()


@pytest.mark.parametrize("port", ["jobs_port", "metrics_port"])
def test_a_port_that_is_not_for_commands_is_named_as_such(daemons: Munged, tmp_path: Path, port: str) -> None:
    listen = {"admin": str(tmp_path / "admin.sock"), "jobs": "127.0.0.1:0", "metrics": "127.0.0.1:0"}
    case = Case(tmp_path, daemons.socket, listen=listen, public_url="http://127.0.0.1:1")
    with case.running():
        file = written(tmp_path, daemons.socket, url=f"http://127.0.0.1:{getattr(case.server, port)}")
        client = AdminClient(load_client_settings(file))
        for ask, route in ((client.resources, "GET /v1/resources"), (lambda: client.release(7), "POST /v1/jobs/7/rel")):
            expected = rf"is not the gateway's port for commands, for it has no {route}.*: check url in {file}, "
            with pytest.raises(VendorError, match=expected):
                ask()


def test_a_gateway_that_is_silent_is_asked_again_later(daemons: Munged, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = AdminClient(load_client_settings(written(tmp_path, daemons.socket, url=url)), read_timeout=0.1)
        with pytest.raises(GatewayUnreachable, match=r"was silent for 0.1 s: try again later$"):
            client.leases()


def test_over_tls_with_the_sites_own_authority(daemons: Munged, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    with Case(tmp_path, daemons.socket, tls=files).running() as case:
        reached = {"url": f"https://127.0.0.1:{case.port}", "munge_socket": daemons.socket}
        assert AdminClient(ClientSettings(**reached, ca=str(tmp_path / "ca.pem"))).leases() == []
        with pytest.raises(GatewayUnreachable, match=r"no safe connection.* authority's file in ca in client.json"):
            AdminClient(ClientSettings(**reached)).leases()


def raw(gateway: Case, text: str, *, seconds: float = 20.0) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=seconds) as connection:
        connection.sendall(text.encode())
        connection.settimeout(seconds)
        pieces = []
        try:
            while piece := connection.recv(65536):
                pieces.append(piece)
                if b"}" in piece:
                    break
        except TimeoutError:
            pass
        return b"".join(pieces)


def test_half_a_head_is_not_waited_for(daemons: Munged, tmp_path: Path) -> None:
    with Case(tmp_path, daemons.socket).running(head_seconds=0.5) as case:
        AdminClient(case.client()).leases()
        for text in ("", "GET /healthz HTTP/1.1\r\nHo"):
            begun = time.monotonic()
            assert raw(case, text, seconds=10) == b""
            assert time.monotonic() - begun < 5


def test_a_large_body_is_refused(gateway: Case) -> None:
    status, told = gateway.ask("POST", "/v1/leases", b"x" * 70_000)
    assert status == 413
    assert told["version"] == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["job_id", "node", "wait", "before", "resource", "task", "reason", "version"])
BODIES = st.dictionaries(KEYS, JSON, max_size=5).map(lambda told: json.dumps(told).encode()) | st.binary(max_size=200)
FITTING = st.fixed_dictionaries({"node": st.just("n2")}, optional={"job_id": JSON, "wait": JSON, "before": JSON})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), body=BODIES | FITTING.map(lambda told: json.dumps(told).encode()))
def test_garbage_in_bodies_is_the_askers_mistake(
    gateway: Case, daemons: Munged, route: tuple[str, str], body: bytes
) -> None:
    method, target = route
    for socket_ in (None, daemons.at("127.0.0.2")) if "node-done" in target or target == "/v1/leases" else (None,):
        status, told = gateway.ask(method, target, body, socket=socket_)
        assert status < 500 or (status == 503 and told["error"]["transient"]), (status, told)


PARTS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=12)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    front=st.sampled_from(["/v1/leases/", "/v1/jobs/", "/v1/resources/", "/v1/", "/"]),
    part=PARTS,
    end=st.sampled_from(["", "/node-done", "/tasks", "/ending", "/release", "/target", "/status", "/maintenance"]),
)
def test_garbage_in_paths_is_the_askers_mistake(gateway: Case, method: str, front: str, part: str, end: str) -> None:
    target = f"{front}{part}{end}"
    status, told = gateway.ask(method, target, b"{}")
    # There is no slurmctld here, which root's reports of a job would need.
    assert status < 500 or (status == 503 and told["error"]["transient"]), (status, told)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
def test_garbage_for_a_credential_is_no_credential(gateway: Case, header: str) -> None:
    status, _ = gateway.ask("GET", "/v1/leases", headers={"Authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert status in {400, 401}


def test_what_is_no_http_is_not_logged_with_its_credential(gateway: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    answer = raw(gateway, "GET /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE planted\x7f\r\n\r\n", seconds=3)
    assert b" 400 " in answer.splitlines()[0]
    assert "somebody sent what is no HTTP" in caplog.text
    assert "planted" not in caplog.text
    assert "Traceback" not in caplog.text


def test_many_at_once(gateway: Case) -> None:
    client, told = AdminClient(gateway.client(unix=True)), []

    def work() -> None:
        told.extend(client.leases() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [[]] * 160


def test_a_wrong_configuration_is_not_taken_and_a_right_one_is(daemons: Munged, tmp_path: Path) -> None:
    import asyncio

    with Case(tmp_path, daemons.socket).running() as case:

        def reload() -> None:
            asyncio.run_coroutine_threadsafe(case.server.gateway.reload(), case.loop).result(20)

        client = AdminClient(case.client())
        case.config.write_text('{"resources": [{"name": "a b"}]}')
        reload()
        assert [each["name"] for each in client.resources()] == ["aer", "Fez"]
        case.write([{**RESOURCES[0], "name": "other"}])
        reload()
        assert [each["name"] for each in client.resources()] == ["other"]
        case.settings["state_dir"] = "/tmp/elsewhere"
        case.write(RESOURCES)
        reload()
        assert [each["name"] for each in client.resources()] == ["other"]


def test_two_gateways_do_not_share_a_journal(gateway: Case, daemons: Munged, tmp_path: Path) -> None:
    second = Case(tmp_path, daemons.socket)
    second.settings["state_dir"] = str(gateway.directory)
    second.write(RESOURCES)
    with pytest.raises(JournalUnavailable, match="another gateway runs with it"), second.running():
        pass


def test_a_journal_that_cannot_be_taken_up_yet_is_tried_again(
    daemons: Munged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, daemons.socket)
    recover, tries = LeaseKeeper.recover, []

    def on_a_full_disk(keeper: LeaseKeeper) -> None:
        tries.append(1)
        keeper._journal._writer.execute(f"PRAGMA query_only = {'ON' if len(tries) == 1 else 'OFF'}")
        if len(tries) == 1:
            keeper._journal.add_task("lease", LeaseTask("Fez", "task"), most=1).result(10)
        recover(keeper)

    monkeypatch.setattr(LeaseKeeper, "recover", on_a_full_disk)
    monkeypatch.setattr(service, "RECOVERY_GAP", 0.1)
    with case.running():
        assert polling.wait_until(lambda: len(tries) == 2, timeout=10)
        assert AdminClient(case.client(unix=True)).leases() == []


def test_a_port_in_use_is_named(gateway: Case, daemons: Munged, tmp_path: Path) -> None:
    second = Case(tmp_path, daemons.socket, listen={"admin_tcp": f"127.0.0.1:{gateway.port}"})
    with (
        pytest.raises(
            ConfigurationError, match=rf"gateway.json: listen.admin_tcp: nobody can listen at 127.0.0.1:{gateway.port}"
        ),
        second.running(),
    ):
        pass


def test_the_socket_of_a_dead_gateway_is_taken_over(daemons: Munged, tmp_path: Path) -> None:
    case = Case(tmp_path, daemons.socket)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(case.admin))
    with case.running():
        assert AdminClient(case.client(unix=True)).leases() == []
    assert not case.admin.exists()


def test_who_asks_before_the_journal_can_be_taken_up_is_told_why(
    tmp_path: Path, daemons: Munged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: LeaseKeeper) -> None:
        raise JournalUnavailable("the journal cannot be used (disk is full)", transient=True)

    monkeypatch.setattr(LeaseKeeper, "recover", full)
    monkeypatch.setattr(service, "START_SECONDS", 0.2)
    case = Case(tmp_path, daemons.socket)
    with case.running():
        status, told = case.ask("GET", "/v1/leases")
    case.server.gateway.journal.close()
    assert (status, "left behind when it ended last: the journal cannot be used" in told["error"]["reason"]) == (
        503,
        True,
    )
