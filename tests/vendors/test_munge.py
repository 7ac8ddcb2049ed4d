# SPDX-License-Identifier: Apache-2.0
"""The binding to libmunge, against a real munged."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from munge_daemon import OTHER_UID, Munged, libraries, munged

from qrmi_core import munge, polling


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    libraries()
    with munged() as both:
        yield both


@pytest.mark.parametrize("payload", [b"", b"GET /jobs", bytes(range(256)) * 16])
def test_a_credential_tells_who_made_it_and_what_it_carries(daemons: Munged, payload: bytes) -> None:
    told = munge.decode(munge.encode(payload, socket=daemons.socket), socket=daemons.socket)
    assert told == munge.Credential(os.getuid(), os.getgid(), payload, told.address)


def test_a_credential_tells_on_which_host_it_was_made(daemons: Munged) -> None:
    for address in ("127.0.0.2", "127.0.0.3"):
        credential = munge.encode(socket=daemons.at(address))
        assert munge.decode(credential, socket=daemons.socket).address == address


def test_each_host_has_one_daemon_however_often_it_is_asked_for(daemons: Munged) -> None:
    sockets = [Path(daemons.at("127.0.0.2")).stat().st_ino for _ in range(3)]
    assert len(set(sockets)) == 1


def test_another_user_cannot_be_mistaken(daemons: Munged) -> None:
    assert munge.decode(munge.encode(socket=daemons.other), socket=daemons.socket).uid == OTHER_UID


def test_no_two_credentials_are_alike(daemons: Munged) -> None:
    assert len({munge.encode(socket=daemons.socket) for _ in range(50)}) == 50


def test_a_credential_is_good_once(daemons: Munged) -> None:
    credential = munge.encode(socket=daemons.socket)
    munge.decode(credential, socket=daemons.socket)
    with pytest.raises(munge.CredentialReplayed, match="was used before"):
        munge.decode(credential, socket=daemons.socket)


def test_a_credential_is_good_for_its_time(daemons: Munged) -> None:
    credential = munge.encode(socket=daemons.socket, ttl=1)
    polling.pause(2.1)
    with pytest.raises(munge.CredentialExpired, match=r"out of its time .*: compare the hosts' clocks"):
        munge.decode(credential, socket=daemons.socket)


@pytest.mark.parametrize("credential", ["", "garbage", "MUNGE:AwQFAAA=:", "MUNGE:\0:", "MUNGÉ:"])
def test_what_is_no_credential_is_rejected(daemons: Munged, credential: str) -> None:
    with pytest.raises(munge.CredentialRejected, match=r"not to be believed|not ASCII"):
        munge.decode(credential, socket=daemons.socket)


def test_a_changed_credential_is_rejected(daemons: Munged) -> None:
    credential = munge.encode(b"uid", socket=daemons.socket)
    middle = len(credential) // 2
    changed = credential[:middle] + ("A" if credential[middle] != "A" else "B") + credential[middle + 1 :]
    with pytest.raises(munge.CredentialRejected, match=r"not to be believed \(.+\)"):
        munge.decode(changed, socket=daemons.socket)


def test_a_credential_of_another_realm_is_rejected(daemons: Munged) -> None:
    with munged() as strangers:
        credential = munge.encode(socket=strangers.socket)
        with pytest.raises(munge.CredentialRejected, match=r"not to be believed \(Invalid credential\)"):
            munge.decode(credential, socket=daemons.socket)


def test_without_munged_the_text_says_where_it_was_looked_for(daemons: Munged) -> None:
    with munged() as gone:
        pass
    for call in (lambda: munge.encode(socket=gone.socket), lambda: munge.decode("MUNGE:", socket=gone.socket)):
        with pytest.raises(
            munge.MungeUnavailable, match=rf"munged does not answer at {gone.socket} \(Failed to access"
        ):
            call()


def test_without_libmunge_the_text_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(munge, "LIBRARIES", ("libmunge-of-nobody.so.2",))
    munge._library.cache_clear()
    try:
        with pytest.raises(munge.MungeUnavailable, match=r"cannot be loaded \(libmunge-of-nobody.*install munge"):
            munge.encode()
    finally:
        munge._library.cache_clear()


def test_eight_threads_at_once(daemons: Munged) -> None:
    told: list[munge.Credential] = []

    def work() -> None:
        for number in range(25):
            payload = str(number).encode()
            told.append(munge.decode(munge.encode(payload, socket=daemons.socket), socket=daemons.socket))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(int(each.payload) for each in told) == sorted([*range(25)] * 8)


def test_nothing_is_loaded_before_it_is_needed() -> None:
    program = (
        "import sys; from qrmi_core.discovery import driver; from qrmi_core import JobContext; "
        "driver('pasqal-local').from_environment('q', {'QRMI_WARDEN_URL': 'http://127.0.0.1:1'}, JobContext()); "
        "print('munge' in open('/proc/self/maps').read(), 'pulser' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]
