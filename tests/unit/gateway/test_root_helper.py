# SPDX-License-Identifier: Apache-2.0
"""The root helper does four things for one user, and refuses everything else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helper_site import CLUSTER, GATEWAY, HOLDER, SUBMITTED, Site, ask, ask_all, lease, munge_daemon, running_helper

from qrmi_core import munge
from qrmi_core.errors import ConfigurationError
from qrmi_core.gateway import root_helper
from qrmi_core.gateway.root_helper.server import _Server
from qrmi_core.leases.records import AcquisitionState, LeaseRecord, LeaseState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the helper runs as root")

MUNGE_ROOT = {"verb": "munge_root", "payload": ""}
MUNGE_USER = {"verb": "munge_user", "uid": HOLDER.pw_uid, "payload": ""}
RESERVATION = {"verb": "reservation", "action": "make", "resource": "Fez", "reason": "cold head", "lanes": None}
COMMENT = {"verb": "system_comment", "cluster": CLUSTER, "job_id": 7, "submitted": SUBMITTED, "text": "qpu v=1 a.s=1.5"}
REQUESTS = {request["verb"]: request for request in (MUNGE_ROOT, MUNGE_USER, RESERVATION, COMMENT)}

HOSTILE = [
    "$(id)", "`id`", "; id", "\ud800", "| id", "& id", "a\nb", "a\0b", "../../etc", "-i", "--", "*", "x" * 2000, "",
    " ", "é", "a=b c", "Fez users=qlab1", "Fez,orion", "fez", "a'b", 'a"b', "\\", "%s", "1 or 1=1", "1' or '1'='1",
    None, True, -1, 2**40, 1.5, [], ["Fez"], {}, {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with munge_daemon.munged() as daemons:
        Path(daemons.socket).parent.chmod(0o755)
        with running_helper(munge_socket=daemons.socket, slurm_conf="/nonexistent/slurm.conf") as running:
            yield running


@pytest.fixture(scope="module")
def munge_socket(site: Site) -> str:
    return str(json.loads((site.directory / "gateway.json").read_text())["munge_socket"])


@contextlib.contextmanager
def kept(site: Site, record: LeaseRecord) -> Iterator[None]:
    """A lease that has ended after the block."""
    site.journal.write(record)
    try:
        yield
    finally:
        ended = tuple(replace(each, state=AcquisitionState.RELEASED) for each in record.acquisitions)
        site.journal.write(replace(record, state=LeaseState.RELEASED, acquisitions=ended))


def refusal(answer: dict[str, Any]) -> str:
    assert set(answer) == {"error"}, answer
    return str(answer["error"]["reason"])


def test_only_the_gateways_user_can_open_the_socket(site: Site) -> None:
    found = Path(site.socket).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert (found.st_uid, found.st_gid) == (GATEWAY, GATEWAY)
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({site.socket!r})"
    command = ["/usr/bin/python3", "-I", "-S", "-c", connect]
    done = subprocess.run(command, user=HOLDER.pw_uid, group=HOLDER.pw_gid, extra_groups=[], capture_output=True)
    assert b"PermissionError" in done.stderr


@pytest.mark.parametrize("uid", [0, HOLDER.pw_uid])
def test_another_user_who_got_hold_of_the_socket_is_refused(site: Site, uid: int) -> None:
    Path(site.socket).chmod(0o666)
    try:
        assert refusal(ask(site, MUNGE_ROOT, uid=uid)) == f"user {uid} is not the gateway"
    finally:
        Path(site.socket).chmod(0o600)


def test_munge_root_makes_a_credential_of_root_that_carries_nothing(site: Site, munge_socket: str) -> None:
    answer = ask(site, MUNGE_ROOT)
    told = munge.decode(answer["answer"], socket=munge_socket)
    assert (told.uid, told.payload) == (0, b"")


@pytest.mark.parametrize("state", [LeaseState.GRANTING, LeaseState.GRANTED, LeaseState.RELEASING])
def test_munge_user_makes_a_credential_of_a_user_with_a_live_lease(
    site: Site, munge_socket: str, state: LeaseState
) -> None:
    with kept(site, lease(100, HOLDER.pw_uid, state)):
        told = munge.decode(ask(site, MUNGE_USER)["answer"], socket=munge_socket)
        assert (told.uid, told.gid, told.payload) == (HOLDER.pw_uid, HOLDER.pw_gid, b"")


@pytest.mark.parametrize(
    ("job", "state", "resource"),
    [(101, LeaseState.RELEASED, "orion"), (102, LeaseState.REFUSED, "orion"), (103, LeaseState.GRANTED, "Fez")],
    ids=["released", "refused", "of a resource that needs no munge"],
)
def test_munge_user_is_refused_to_a_user_without_a_live_lease(
    site: Site, job: int, state: LeaseState, resource: str
) -> None:
    with kept(site, lease(job, HOLDER.pw_uid, state, resource)):
        assert refusal(ask(site, MUNGE_USER)) == f"user {HOLDER.pw_uid} has no live lease of orion"


def test_a_task_that_is_announced_after_the_release_can_be_cancelled(site: Site, munge_socket: str) -> None:
    released = lease(106, HOLDER.pw_uid, LeaseState.RELEASED)
    late = replace(released.acquisitions[0], state=AcquisitionState.RELEASE_PENDING)
    with kept(site, released.with_acquisition(late)):
        assert munge.decode(ask(site, MUNGE_USER)["answer"], socket=munge_socket).uid == HOLDER.pw_uid


def test_munge_user_never_makes_a_credential_of_root(site: Site) -> None:
    with kept(site, lease(104, 0, LeaseState.GRANTED)):
        assert "user 0 has no live lease" in refusal(ask(site, MUNGE_USER | {"uid": 0}))


def test_a_user_whom_this_host_does_not_know_gets_no_credential(site: Site) -> None:
    with kept(site, lease(105, 987654, LeaseState.GRANTED)):
        assert refusal(ask(site, MUNGE_USER | {"uid": 987654})) == "this host knows no user 987654"


@pytest.mark.parametrize("verb", ["munge_root", "munge_user"])
@pytest.mark.parametrize("payload", ["x", "qrmi1 POST /v1/leases", None, 0, [], "\0"])
def test_a_credential_with_a_payload_is_refused(site: Site, verb: str, payload: Any) -> None:
    assert refusal(ask(site, REQUESTS[verb] | {"payload": payload})) == "payload: it must be empty"


def test_a_reservation_of_a_resource_that_is_not_configured_is_refused(site: Site) -> None:
    answer = refusal(ask(site, RESERVATION | {"resource": "elsewhere"}))
    assert answer == "resource: the configuration has none of that name"


@pytest.mark.parametrize("lanes", [0, 3, -1, 2**40, "1", 1.0, True, []])
def test_a_reservation_of_lanes_that_are_not_there_is_refused(site: Site, lanes: Any) -> None:
    assert refusal(ask(site, RESERVATION | {"lanes": lanes})).startswith("lanes: a number")


@pytest.mark.parametrize("changed", [{"job_id": 8}, {"submitted": SUBMITTED + 1}, {"cluster": "other"}])
def test_a_comment_for_a_job_without_a_lease_of_ours_is_refused(site: Site, changed: dict[str, Any]) -> None:
    record = lease(7, HOLDER.pw_uid, LeaseState.RELEASED)
    site.journal.write(record)
    assert "the journal knows no lease of job" in refusal(ask(site, COMMENT | changed))


def test_a_comment_for_a_job_whose_lease_was_refused_is_refused(site: Site) -> None:
    site.journal.write(lease(9, HOLDER.pw_uid, LeaseState.REFUSED))
    assert "the journal knows no lease of job 9" in refusal(ask(site, COMMENT | {"job_id": 9}))


@pytest.mark.parametrize(
    "text",
    ["qpu", "v", "V=1", "v=A", "v=1  w=2", "v=1 ", " v=1", "v=1,w=2", 'v="1"', "v=1\nw=2", "v=" + "1" * 1000, "=1",
     "v=1 AdminComment=x"],
)  # fmt: skip
def test_a_comment_of_another_form_is_refused(site: Site, text: str) -> None:
    assert "key=value pairs in lower case" in refusal(ask(site, COMMENT | {"text": text}))


@pytest.mark.parametrize(
    ("verb", "argument"), [(verb, name) for verb, request in REQUESTS.items() for name in request if name != "verb"]
)
def test_hostile_values_of_each_argument_are_refused_before_anything_is_run(
    site: Site, verb: str, argument: str
) -> None:
    site.journal.write(lease(7, HOLDER.pw_uid, LeaseState.RELEASED))
    own = {"payload": "", "text": "v=1", "resource": "Fez", "cluster": CLUSTER, "job_id": 7}
    printable = [value for value in HOSTILE if isinstance(value, str) and len(value) <= 500 and value.isprintable()]
    fit = printable if argument == "reason" else [own.get(argument)]  # a reason is only logged
    values = [value for value in HOSTILE if value not in fit]
    reasons = [refusal(each) for each in ask_all(site, [REQUESTS[verb] | {argument: value} for value in values])]
    assert [each for each in zip(values, reasons, strict=True) if "scontrol" in each[1] or "sacct" in each[1]] == []


@pytest.mark.parametrize("reason", ["a\nb", "a\0b", "x" * 501, None, 1, [], {}])
def test_a_reason_that_is_not_one_line_is_refused(site: Site, reason: Any) -> None:
    assert refusal(ask(site, RESERVATION | {"reason": reason})).startswith("reason: one line")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "a line of JSON was expected"),
        (b"garbage\n", "a line of JSON was expected"),
        (b"\xff\xfe\n", "a line of JSON was expected"),
        (b"[" * 8000 + b"\n", "a line of JSON was expected"),
        (b"{}\n", 'a request is an object with a "verb"'),
        (b"[]\n", 'a request is an object with a "verb"'),
        (b'{"verb": 1}\n', 'a request is an object with a "verb"'),
        (b'{"verb": "shell", "payload": ""}\n', "the verbs are munge_root, munge_user, reservation, system_comment"),
        (b'{"verb": "call", "request": ""}\n', "the verbs are munge_root, munge_user, reservation, system_comment"),
        (b'{"verb": "munge_root"}\n', "munge_root takes payload, and each of them"),
        (b'{"verb": "munge_root", "payload": "", "self": 1}\n', "munge_root takes payload, and each of them"),
        (b'{"verb": "munge_root", "payload": ""}', "one line of at most 8192 bytes was expected"),
        (b"", "one line of at most 8192 bytes was expected"),
        (b" " * 8192 + b"\n", "one line of at most 8192 bytes was expected"),
    ],
)
def test_what_is_no_request_is_refused(site: Site, line: bytes, reason: str) -> None:
    assert refusal(ask(site, line)) == reason


def test_a_line_that_never_ends_is_cut_off(site: Site) -> None:
    endless = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({site.socket!r}); s.sendall(b'x' * 2**24)"
    command = ["/usr/bin/python3", "-I", "-S", "-c", endless]
    done = subprocess.run(
        command, user=GATEWAY, group=GATEWAY, extra_groups=[], capture_output=True, timeout=60, check=False
    )
    assert b"BrokenPipeError" in done.stderr or b"ConnectionResetError" in done.stderr
    assert "answer" in ask(site, MUNGE_ROOT)


def test_one_who_says_nothing_keeps_nobody_out(site: Site) -> None:
    silent = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({site.socket!r}); print(1, flush=True); s.recv(1)"
    )
    command = ["/usr/bin/python3", "-I", "-S", "-c", silent]
    with subprocess.Popen(command, user=GATEWAY, group=GATEWAY, extra_groups=[], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        assert "answer" in ask(site, MUNGE_ROOT)
        process.terminate()


def test_every_call_is_logged_and_no_credential_is(site: Site) -> None:
    credential = ask(site, MUNGE_ROOT)["answer"]
    ask(site, MUNGE_ROOT | {"payload": "secret-payload"})
    ask(site, {"verb": "secret-verb", "token": "secret-token"})
    ask(site, COMMENT | {"text": "secret-text"})
    log = site.log
    assert '{"verb": "munge_root"} "done"' in log
    assert '{"verb": "munge_root"} "refused: payload: it must be empty"' in log
    assert f'"job_id": "7", "submitted": "{SUBMITTED}"}} "refused: text' in log
    assert [secret for secret in (credential, "secret-payload", "secret-token", "secret-text") if secret in log] == []


def test_the_journal_is_read_while_the_gateway_writes_and_after_it_has_ended(site: Site) -> None:
    with running_helper() as other:
        for job in range(50, 55):
            other.journal.write(lease(job, HOLDER.pw_uid, LeaseState.RELEASED))
            reason = refusal(ask(other, COMMENT | {"job_id": job, "text": "v=1"}))
            assert "sacct" in reason or "no record" in reason
        other.journal.close()
        other.hand_over()
        assert "sacct" in refusal(ask(other, COMMENT | {"job_id": 50, "text": "v=1"}))
        owners = {each.stat().st_uid for each in (other.directory / "state").iterdir()}
        assert owners == {GATEWAY}


def test_without_a_journal_nothing_is_believed() -> None:
    with running_helper() as other:
        other.journal.close()
        for each in (other.directory / "state").iterdir():
            each.unlink()
        answer = ask(other, COMMENT)
        assert answer["error"]["transient"]
        assert "cannot be read" in refusal(answer)


def test_a_journal_that_is_a_link_leads_root_nowhere() -> None:
    with running_helper() as other:
        other.journal.close()
        journal = other.directory / "state" / "journal.sqlite"
        secret = other.directory / "of-root.sqlite"
        journal.rename(secret)
        os.chown(secret, 0, 0)
        secret.chmod(0o600)
        journal.symlink_to(secret)
        assert "cannot be read" in refusal(ask(other, COMMENT))


def test_a_resource_that_is_added_is_known_at_once_and_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "slurm.conf"  # one that is missing is waited for
    empty.touch()
    with running_helper(slurm_conf=str(empty)) as other:
        file = other.directory / "qrmi_config.json"
        told = json.loads(file.read_text())
        told["resources"].append({"name": "later", "type": "aer-simulator", "environment": {}})
        file.write_text(json.dumps(told))
        assert "scontrol" in refusal(ask(other, RESERVATION | {"resource": "later"}))
        file.write_text("{")
        assert "scontrol" in refusal(ask(other, RESERVATION | {"resource": "Fez"}))
        assert "none of that name" in refusal(ask(other, RESERVATION | {"resource": "later"}))
        assert "the one before stays in force" in other.log


@pytest.mark.parametrize("name", ["gateway.json", "qrmi_config.json", "run"])
def test_what_others_could_write_is_not_believed(name: str) -> None:
    with running_helper() as other:
        path = other.directory / name
        path.chmod(path.stat().st_mode | 0o020)
        with pytest.raises(ConfigurationError, match=r"others than root could change it.*chown root, chmod go-w"):
            root_helper.load(other.directory / "gateway.json")


def test_a_missing_socket_or_directory_is_named() -> None:
    with running_helper() as other:
        file = other.directory / "gateway.json"
        told = json.loads(file.read_text())
        file.write_text(json.dumps(told | {"helper_socket": None}))
        with pytest.raises(ConfigurationError, match=r"helper_socket: name the helper's socket"):
            root_helper.load(file)
        file.write_text(json.dumps(told | {"state_dir": "/nonexistent"}))
        with pytest.raises(ConfigurationError, match=r"state_dir: /nonexistent cannot be read.*mode 0700"):
            root_helper.load(file)


def test_a_second_helper_takes_over_the_socket(site: Site) -> None:
    """As after a kill: the old socket is still there, and the new helper listens."""
    stale = site.directory / "run" / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(stale))
    settings = root_helper.load(site.directory / "gateway.json")
    with _Server(replace(settings, socket=stale)):
        assert stat.S_IMODE(stale.stat().st_mode) == 0o600
