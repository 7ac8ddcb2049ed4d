# SPDX-License-Identifier: Apache-2.0
"""`qrmi gateway serve`: its start, its signals, its end, and what it says of mistakes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_case import RESOURCES, Case
from munge_daemon import Munged, munged

from qrmi_core import polling
from qrmi_core.admin_client import AdminClient
from qrmi_core.errors import QRMIError

QRMI = Path(sys.executable).with_name("qrmi")


@contextlib.contextmanager
def served(case: Case) -> Iterator[subprocess.Popen[str]]:
    command = [QRMI, "gateway", "serve", "--config", case.file]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        try:
            yield service
        finally:
            service.kill()


def listens(case: Case) -> bool:
    try:
        AdminClient(case.client(unix=True)).health()
    except QRMIError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_gracefully(daemons: Munged, tmp_path: Path, number: int) -> None:
    case = Case(tmp_path, daemons.socket)
    with served(case) as service:
        assert polling.wait_until(lambda: listens(case), timeout=30)
        begun = time.monotonic()
        service.send_signal(number)
        _, said = service.communicate(timeout=20)
        assert time.monotonic() - begun < 3
    assert service.returncode == 0
    assert not case.admin.exists()
    assert f"listening at {case.admin}" in said
    assert "Traceback" not in said


def test_a_hangup_reads_the_configuration_again(daemons: Munged, tmp_path: Path) -> None:
    case = Case(tmp_path, daemons.socket)
    with served(case) as service:
        assert polling.wait_until(lambda: listens(case), timeout=30)
        client = AdminClient(case.client(unix=True))

        def names() -> list[str]:
            return [each["name"] for each in client.resources()]

        case.write([{**RESOURCES[0], "name": "later"}])
        service.send_signal(signal.SIGHUP)
        assert polling.wait_until(lambda: names() == ["later"], timeout=10)
        case.write([{**RESOURCES[0], "lane": 1}])
        service.send_signal(signal.SIGHUP)
        assert service.stderr is not None
        for line in service.stderr:
            if "the configuration is not taken" in line:
                break
        assert f"{case.config}: resources[0].lane: unknown key; did you mean lanes?" in line
        assert names() == ["later"]


def test_a_second_gateway_leaves_the_socket_of_the_first_alone(daemons: Munged, tmp_path: Path) -> None:
    first = Case(tmp_path, daemons.socket)
    (tmp_path / "other").mkdir()
    second = Case(tmp_path / "other", daemons.socket, listen={"admin": str(first.admin)})
    with served(first) as running:
        assert polling.wait_until(lambda: listens(first), timeout=30)
        with served(second) as refused:
            _, said = refused.communicate(timeout=30)
        assert refused.returncode in {1, 2}
        assert f"gateway.json: listen.admin: another gateway listens at {first.admin}: stop it, or name" in said
        assert listens(first)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
    assert not first.admin.exists()


def test_a_gateway_that_ends_leaves_the_socket_of_another_alone(daemons: Munged, tmp_path: Path) -> None:
    case = Case(tmp_path, daemons.socket)
    with served(case) as service, socket.socket(socket.AF_UNIX) as other:
        assert polling.wait_until(lambda: listens(case), timeout=30)
        case.admin.unlink()
        other.bind(str(case.admin))
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=20)
        assert case.admin.is_socket()


def test_what_is_no_socket_is_left_alone(daemons: Munged, tmp_path: Path) -> None:
    case = Case(tmp_path, daemons.socket)
    case.admin.write_text("notes")
    with served(case) as service:
        _, said = service.communicate(timeout=30)
    assert service.returncode in {1, 2}
    assert f"gateway.json: listen.admin: {case.admin} is there and no socket, so it is left alone: remove it" in said
    assert case.admin.read_text() == "notes"


def test_a_mistake_ends_in_one_line(daemons: Munged, tmp_path: Path) -> None:
    case = Case(tmp_path, daemons.socket)
    with munged() as gone:
        pass
    for changed, expected in (
        ({"qrmi_config": "/nowhere.json"}, "/nowhere.json: it cannot be read: No such file"),
        ({"state_dir": "/nowhere"}, f"{case.file}: state_dir: there is no directory /nowhere: make it, owned by the"),
        ({"state_dir": "/etc/passwd"}, f"{case.file}: state_dir: there is no directory /etc/passwd: make it, owned by"),
        ({"state_dir": "/proc/self"}, "the journal /proc/self/journal.sqlite cannot be used"),
        ({"munge_socket": gone.socket}, "munged does not answer at"),
        ({"listen": {"admin": "/nowhere/a.sock"}}, "gateway.json: listen.admin: nobody can listen at /nowhere/a.sock"),
    ):
        case.file.write_text(json.dumps({**case.settings, **changed}))
        done = subprocess.run(
            [QRMI, "gateway", "serve", "--config", case.file], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode in {1, 2}
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
