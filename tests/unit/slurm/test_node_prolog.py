# SPDX-License-Identifier: Apache-2.0
"""Slurm's Prolog for jobs with a QPU: the lease or the reason why there is none, in time, and never a failed node."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from munge_daemon import libraries
from node_case import JOB, LEASE, NODE, QPU_JOB, Answer, Gateway, Node, granted, python_of, raw_server, refused

from qrmi_core import polling

SLURMLESS = "not put back into the queue as it should be: "


@pytest.fixture
def serve(node: Node) -> Iterator[Callable[..., Gateway]]:
    with ExitStack() as stack:

        def start(*answers: Answer, **settings: Any) -> Gateway:
            gateway = stack.enter_context(Gateway(node.munge_socket, *answers).serving())
            node.configure(gateway.url, **settings)
            return gateway

        yield start


def test_the_lease_is_written_where_the_plugin_reads_it(node: Node, serve: Callable[..., Gateway]) -> None:
    gateway = serve(granted(QRMI_JOB_QPU_RESOURCES="ibm_fez", ibm_fez_QRMI_KEY="s3cret = 'x' \t$y"), patience=10)
    done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, done.log) == (0, "")
    assert node.state() == [
        "qrmi-state 1",
        "uid 1000",
        f"lease {LEASE}",
        "set QRMI_JOB_QPU_RESOURCES=ibm_fez",
        "set ibm_fez_QRMI_KEY=s3cret = 'x' \t$y",
    ]
    assert stat.S_IMODE(node.state_dir.stat().st_mode) == 0o700
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in node.state_dir.iterdir()] == [("42", 0o600)]
    (seen,) = gateway.seen
    wait = seen.body.pop("wait")
    assert (seen.path, seen.body, seen.uid) == ("/v1/leases", {"job_id": 42, "node": "n1"}, os.getuid())
    assert 5 < wait < 7.3


@pytest.mark.parametrize("told", [{"SPANK_QPU": "a"}, {"SLURM_JOB_LICENSES": "matlab:2,qpu_a:1"}])
def test_either_sign_of_a_qpu_makes_it_ask(node: Node, serve: Callable[..., Gateway], told: dict[str, str]) -> None:
    serve(granted())
    assert node.run("qrmi-prolog", {**JOB, **told}).code == 0
    assert node.state()[2] == f"lease {LEASE}"


@pytest.mark.parametrize("environment", [JOB, {**JOB, "SPANK_QPU": "", "SLURM_JOB_LICENSES": "matlab:1"}])
def test_a_job_without_a_qpu_starts_no_python(node: Node, environment: dict[str, str]) -> None:
    done = node.run("qrmi-prolog", environment, PYTHON="/nowhere/python3")
    assert (done.code, done.log, node.state_dir.exists()) == (0, "", False)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_state_file_of_an_earlier_job_with_this_id_goes(node: Node, kind: str) -> None:
    node.state_dir.mkdir(0o700)
    elsewhere = node.directory / "elsewhere"
    elsewhere.write_text("kept")
    if kind == "file":
        (node.state_dir / "42").write_text("qrmi-state 1\nuid 1000\nset A=B\n")
    else:
        (node.state_dir / "42").symlink_to(elsewhere)
    assert node.run("qrmi-prolog", JOB).code == 0
    assert list(node.state_dir.iterdir()) == []
    assert elsewhere.read_text() == "kept"


def test_without_python_nothing_stale_stays_and_the_node_is_fine(node: Node) -> None:
    node.state_dir.mkdir(0o700)
    (node.state_dir / "42").write_text("qrmi-state 1\nuid 1000\nset A=B\n")
    done = node.run("qrmi-prolog", QPU_JOB, PYTHON="/nowhere/python3")
    assert done.code == 0
    assert "/nowhere/python3" in done.log
    assert list(node.state_dir.iterdir()) == []


@pytest.mark.parametrize("job", ["", "0", "-1", "1;reboot", "../42", " 42", "4 2", "42\n", "٤٢", "042"])
def test_what_is_no_job_id_goes_nowhere(node: Node, serve: Callable[..., Gateway], job: str) -> None:
    gateway = serve(granted())
    done = node.run("qrmi-prolog", {**QPU_JOB, "SLURM_JOB_ID": job})
    assert done.code == 0
    assert "SLURM_JOB_ID" in done.log
    assert gateway.seen == []
    assert not node.state_dir.exists()


def test_a_final_refusal_reaches_the_job_in_one_line(node: Node, serve: Callable[..., Gateway]) -> None:
    gateway = serve(refused("you may not use ibm_fez:\nask the project's owner\x1b[31m", transient=False))
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert node.state() == [
        "qrmi-state 1", "uid 1000", "refused you may not use ibm_fez: ask the project's owner [31m",
    ]  # fmt: skip
    assert done.log.splitlines() == [
        "qrmi prolog: job 42: refused: you may not use ibm_fez: ask the project's owner [31m; for good"
    ]
    assert len(gateway.seen) == 1


def test_a_refusal_for_now_is_asked_about_once(node: Node, serve: Callable[..., Gateway]) -> None:
    gateway = serve(refused("all lanes are being released", transient=True))
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert node.state()[2] == "refused all lanes are being released"
    assert f"; {SLURMLESS}{node.directory}/bin/squeue: No such file or directory" in done.log
    assert len(gateway.seen) == 1


def test_nobody_there_until_its_patience_ends(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    node.configure(f"http://127.0.0.1:{port}", patience=1)
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert node.state()[2] == (f"refused the gateway http://127.0.0.1:{port} does not answer: Connection refused")
    assert 0.7 < done.seconds < 5


def test_a_gateway_that_starts_meanwhile_is_found(node: Node) -> None:
    address = str(node.directory / "socket")
    node.configure(f"unix:{address}", patience=20)
    with node.start("qrmi-prolog", QPU_JOB) as script:
        polling.wait_until(lambda: (node.state_dir / "42").exists(), timeout=20)
        with Gateway(node.munge_socket, granted(), address=address).serving() as gateway:
            said, _ = script.communicate(timeout=30)
    assert (script.returncode, said, node.state()[2]) == (0, "", f"lease {LEASE}")
    assert len(gateway.seen) == 1


def test_a_proxy_in_front_of_a_restarting_gateway_is_no_refusal(node: Node, serve: Callable[..., Gateway]) -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>502</html>"
    gateway = serve(page, b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", granted(), patience=20)
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert node.state()[2] == f"lease {LEASE}"
    assert len({seen.nonce for seen in gateway.seen}) == 4


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def slow(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"H")
        polling.pause(0.05)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"[" * 65536)


@pytest.mark.parametrize("talk", [silent, slow, endless])
def test_whoever_keeps_it_waiting_its_patience_is_short(node: Node, talk: Callable[[socket.socket], None]) -> None:
    with raw_server(talk) as url:
        node.configure(url, patience=1)
        done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert node.state()[2].startswith("refused the gateway http://127.0.0.1:")
    assert done.seconds < 5


GARBAGE = [
    b"", b"hello", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 20x OK\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe{}",
    b'HTTP/1.1 200 OK\r\n\r\n{"version": 2, "lease": "x"}',
    b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"version": 1}',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b'HTTP/1.1 409 Conflict\r\n\r\n{"version": 1, "error": "no"}',
    b'HTTP/1.1 409 Conflict\r\n\r\n{"version": 1, "error": {"reason": 7, "transient": false}}',
]  # fmt: skip


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_answer(node: Node, answer: bytes) -> None:
    with raw_server(lambda connection: connection.sendall(answer)) as url:
        node.configure(url, patience=0.3)
        done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, "Traceback" in done.log) == (0, False)
    assert len(node.state()) == 3
    assert node.state()[2].startswith(("refused the gateway http://", "refused http://"))


UNFIT = [
    {"environment": {"LD_PRELOAD": "/tmp/x"}}, {"defaults": {"PATH": "/tmp"}}, {"absent": ["HOME"]},
    {"environment": {"QRMI_A": "1\nset LD_PRELOAD=/tmp/x"}}, {"environment": {"QRMI_A": "1\0"}},
    {"environment": {"QRMI_A": "\ud800"}},
    {"environment": {"QRMI_A": 1}}, {"environment": {"QRMI_A": None}}, {"environment": {"QRMI_A=B": "1"}},
    {"environment": {"": "1"}}, {"environment": {"QRMI_A\nset B": "1"}}, {"environment": {"QRMI_A B": "1"}},
    {"environment": []},
    {"defaults": {"QRMI_A": "1\nset B=1"}}, {"defaults": {"QRMI_A B": "1"}}, {"defaults": []},
    {"defaults": {"QRMI_A": None}},
    {"absent": ["QRMI_A\nset B=1"]}, {"absent": [1]}, {"absent": {"QRMI_A": "1"}}, {"absent": [""]},
    {"absent": ["QRMI_A=1"]},
    {"uid": 0}, {"uid": True}, {"uid": "1000"}, {"uid": None}, {"lease": ""}, {"lease": "0" * 33},
    {"lease": "../../etc/passwd"}, {"lease": f"{LEASE}\nset A=B"}, {"lease": None},
]  # fmt: skip


@pytest.mark.parametrize("change", UNFIT, ids=str)
def test_what_no_state_file_can_hold_is_a_refusal(
    node: Node, serve: Callable[..., Gateway], change: dict[str, Any]
) -> None:
    serve((200, {"lease": LEASE, "uid": 1000, "environment": {"QRMI_TOKEN": "s3cret"}, **change}))
    done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, "s3cret" in done.log, "Traceback" in done.log) == (0, False, False)
    head, uid, reason = node.state()
    assert (head, uid) == ("qrmi-state 1", "uid 1000")
    assert reason.startswith("refused the gateway ")


def test_defaults_and_what_is_taken_away_have_lines_of_their_own(node: Node, serve: Callable[..., Gateway]) -> None:
    answer = {"lease": LEASE, "uid": 1000, "environment": {"QRMI_A": "1"}, "defaults": {"a_QRMI_KEY": "s3cret"}}
    answer["absent"] = ["a_QRMI_URL"]
    serve((200, answer))
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert node.state()[3:] == ["set QRMI_A=1", "default a_QRMI_KEY=s3cret", "unset a_QRMI_URL"]


def test_a_large_environment_fits(node: Node, serve: Callable[..., Gateway]) -> None:
    serve(granted(**{f"QRMI_VARIABLE_{number}": "v" * 10_000 for number in range(90)}))
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert len(node.state()) == 93


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ca


@pytest.mark.parametrize(("name", "trusted"), [("127.0.0.1", True), ("127.0.0.1", False), ("head.example", True)])
def test_tls_is_checked_against_the_authority_and_the_name(
    node: Node, authority: trustme.CA, name: str, trusted: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (authority if trusted else trustme.CA()).issue_cert(name).configure_cert(context)
    good = trusted and name == "127.0.0.1"
    gateway = Gateway(node.munge_socket, granted())
    gateway.secure(context)
    with gateway.serving():
        node.configure(gateway.url, ca=str(node.directory / "ca.pem"), patience=10 if good else 1)
        assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert len(gateway.seen) == good
    if good:
        assert node.state()[2] == f"lease {LEASE}"
    else:
        assert "CERTIFICATE_VERIFY_FAILED" in node.state()[2]


def test_a_munged_that_hangs_does_not_hold_it(node: Node) -> None:
    path = str(node.directory / "munge")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        node.configure("http://127.0.0.1:9", munge_socket=path, patience=1)
        done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, done.seconds < 5) == (0, True)
    assert node.state()[2].startswith("refused ")


def test_without_munged_it_says_so(node: Node) -> None:
    node.configure("http://127.0.0.1:9", munge_socket="/nowhere/munge", patience=0.5)
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert node.state()[2].startswith("refused munged on this node makes no credential: ")


def test_killed_it_leaves_a_refusal(node: Node) -> None:
    with raw_server(silent) as url:
        node.configure(url, patience=20)
        with node.start("qrmi-prolog", QPU_JOB) as script:
            polling.wait_until(lambda: (node.state_dir / "42").exists(), timeout=20)
            (python,) = python_of(script)
            os.kill(python, signal.SIGKILL)
            script.communicate(timeout=10)
    assert script.returncode == 0
    assert node.state()[2].startswith("refused the node's prolog was broken off ")


def test_ended_by_the_kernel_when_all_else_hangs(node: Node) -> None:
    # squeue hangs, and so does whoever would have killed it.
    (node.directory / "bin").mkdir()
    squeue = node.directory / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\nkill -STOP $PPID\n")
    squeue.chmod(0o755)
    with raw_server(lambda connection: connection.sendall(b"no")) as url:
        node.configure(url, patience=0.5)
        with node.start("qrmi-prolog", QPU_JOB) as script:
            polling.wait_until(lambda: _is_stopped(python_of(script)), timeout=20)
            (python,) = python_of(script)
            os.kill(python, signal.SIGKILL)
            script.communicate(timeout=10)
    assert script.returncode == 0
    assert node.state()[2].startswith("refused ")


def _is_stopped(pids: list[int]) -> bool:
    return any(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" for pid in pids)


@pytest.mark.parametrize("attack", ["link", "writable", "owner", "file"])
def test_a_state_directory_that_others_can_reach_is_not_used(
    node: Node, serve: Callable[..., Gateway], attack: str
) -> None:
    gateway = serve(granted(TOKEN="s3cret"))
    theirs = node.directory / "theirs"
    theirs.mkdir(0o700)
    if attack == "link":
        node.state_dir.symlink_to(theirs)
    elif attack == "file":
        node.state_dir.write_text("")
    else:
        node.state_dir.mkdir(0o700)
        if attack == "writable":
            node.state_dir.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(node.state_dir, 4242, -1)
        else:
            node.configure(gateway.url)
            node.state_dir.rmdir()
            node.state_dir.symlink_to("/")
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert f"the state directory {node.state_dir} " in done.log
    assert gateway.seen == []
    assert list(theirs.iterdir()) == []
    assert attack == "file" or not (node.state_dir / "42").exists()


@pytest.mark.parametrize("name", ["42", ".42.new"])
def test_a_link_in_the_files_place_is_replaced_not_followed(
    node: Node, serve: Callable[..., Gateway], name: str
) -> None:
    serve(granted())
    victim = node.directory / "victim"
    victim.write_text("kept")
    node.state_dir.mkdir(0o700)
    (node.state_dir / name).symlink_to(victim)
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert victim.read_text() == "kept"
    assert not (node.state_dir / "42").is_symlink()
    assert node.state()[2] == f"lease {LEASE}"


def test_a_state_file_that_cannot_be_written_costs_no_lease(node: Node, serve: Callable[..., Gateway]) -> None:
    gateway = serve(granted())
    (node.state_dir / "42" / "in-the-way").mkdir(parents=True)
    node.state_dir.chmod(0o700)
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert "cannot be written" in done.log
    assert gateway.seen == []


MISTAKES: list[tuple[object, str]] = [
    ("{", "is no JSON"),
    ([], "a JSON object is expected"),
    ({}, "gateway must be http://HOST:PORT"),
    ({"gateway": "ftp://head"}, "gateway must be http://HOST:PORT"),
    ({"gateway": "http://user@head:1"}, "gateway must be http://HOST:PORT"),
    ({"gateway": "http://head:1/path"}, "gateway must be http://HOST:PORT"),
    ({"gateway": "http://h", "patience": "25"}, "patience must be a number of seconds"),
    ({"gateway": "http://h", "patience": True}, "patience must be a number of seconds"),
    ({"gateway": "http://h", "patience": 0}, "patience must be a number of seconds"),
    ({"gateway": "http://h", "ca": 1}, "ca must be a text"),
    ({"gateway": "http://h", "pateince": 1}, "unknown key 'pateince'; known are gateway, ca"),
    ({"gateway": "http://h", "state_dir": "/run/other"}, "state_dir is not"),
    ({"gateway": "https://h", "ca": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
]


@pytest.mark.parametrize(("document", "message"), MISTAKES)
def test_a_mistake_in_the_configuration_is_the_reason(node: Node, document: object, message: str) -> None:
    node.config.write_text(document if isinstance(document, str) else json.dumps(document))
    done = node.run("qrmi-prolog", QPU_JOB)
    assert done.code == 0
    assert message in node.state()[2]
    assert message in done.log


def test_no_configuration_is_the_reason(node: Node) -> None:
    assert node.run("qrmi-prolog", QPU_JOB).code == 0
    assert node.state()[2].endswith(f"{node.config} cannot be read: No such file or directory")


def test_the_program_needs_python_3_9_and_its_library_only() -> None:
    tree = ast.parse((NODE / "qrmi_node.py").read_text(), feature_version=(3, 9))
    names = {alias.name for part in ast.walk(tree) if isinstance(part, ast.Import) for alias in part.names}
    names |= {str(part.module) for part in ast.walk(tree) if isinstance(part, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def processor_seconds(node: Node, environment: dict[str, str]) -> float:
    """The least of several runs: what else the machine does is not the script's."""
    file = node.front("qrmi-prolog")
    settled = {"LD_LIBRARY_PATH": libraries(), **environment}

    def once() -> float:
        _, status, usage = os.wait4(os.posix_spawn(str(file), [str(file)], settled), 0)
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    return min(once() for _ in range(10))


def test_it_costs_little(node: Node, serve: Callable[..., Gateway]) -> None:
    serve(granted(A="B"))
    assert processor_seconds(node, JOB) <= 0.005
    assert processor_seconds(node, QPU_JOB) <= 0.150
