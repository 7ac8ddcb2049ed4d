# SPDX-License-Identifier: Apache-2.0
"""Whose address is whose, as far as slurmctld and the site's own file tell."""

from __future__ import annotations

import os
import pwd

import pytest

from qrmi_core.errors import QRMIError
from qrmi_core.gateway import auth
from qrmi_core.gateway.auth import Caller, Hosts


class Asked:
    """What slurmctld would say, and how often it was asked."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses
        self.times = 0

    def __call__(self) -> dict[str, str]:
        self.times += 1
        return self.addresses


def hosts(asked: Asked, **more: list[str]) -> Hosts:
    return Hosts(asked, further=more, own=["10.0.0.1"], operators=[pwd.getpwuid(os.getuid()).pw_name, "alice"])


def test_root_of_a_node_is_root_at_its_address() -> None:
    asked = Asked(n1="10.0.0.11", n2="localhost")
    known = hosts(asked)
    assert known.is_root_of(Caller(0, "10.0.0.11"), "n1")
    assert known.is_root_of(Caller(0, "127.0.0.1"), "n2")
    assert not known.is_root_of(Caller(1000, "10.0.0.11"), "n1")
    assert not known.is_root_of(Caller(0, "10.0.0.11"), "n2")
    assert not known.is_root_of(Caller(0, "10.0.0.11"), "n3")
    assert asked.times == 1


def test_a_node_that_is_new_or_has_moved_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "SHORTEST_GAP", 0.0)
    asked = Asked(n1="10.0.0.11")
    known = hosts(asked)
    assert known.is_root_of(Caller(0, "10.0.0.11"), "n1")
    asked.addresses = {"n1": "10.0.0.12", "n2": "10.0.0.13"}
    assert known.is_root_of(Caller(0, "10.0.0.13"), "n2")
    assert known.is_root_of(Caller(0, "10.0.0.12"), "n1")
    assert not known.is_root_of(Caller(0, "10.0.0.11"), "n1")


def test_the_sites_own_addresses_of_a_node_need_no_slurmctld() -> None:
    def away() -> dict[str, str]:
        raise QRMIError("away", transient=True)

    known = Hosts(away, further={"n1": ["192.168.0.1"]}, own=[], operators=[])
    assert known.is_root_of(Caller(0, "192.168.0.1"), "n1")
    with pytest.raises(QRMIError, match="away"):
        known.is_root_of(Caller(0, "192.168.0.2"), "n1")


def test_a_name_without_an_address_is_nobodys() -> None:
    assert not hosts(Asked(n1="no-such-host.invalid")).is_root_of(Caller(0, "10.0.0.1"), "n1")


def test_operators() -> None:
    known = hosts(Asked())
    assert known.is_operator(Caller(0, "10.0.0.1"))
    assert known.is_operator(Caller(0, "10.0.0.2")) is False
    assert known.is_operator(Caller(os.getuid() or 4_000_000, "10.0.0.2")) is (os.getuid() != 0)
    assert not known.is_operator(Caller(4_000_000, "10.0.0.1"))
