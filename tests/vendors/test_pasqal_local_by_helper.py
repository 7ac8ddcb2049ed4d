# SPDX-License-Identifier: Apache-2.0
"""Warden's sessions opened by a process that is not root: munge credentials come from the root helper."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from munge_daemon import Munged, munged
from pasqal_local_case import payload, warden

sys.path.append(str(Path(__file__).parents[1] / "unit" / "gateway"))

from helper_site import HOLDER, lease, running_helper
from helper_site import Site as HelperSite
from vendor_site import Site

from qrmi_core import JobContext, QuantumResource
from qrmi_core.errors import AuthenticationFailed, ResourceUnavailable
from qrmi_core.gateway.helper_client import HelperClient, HelperRefused, HelperUnreachable, lend_credentials
from qrmi_core.leases.records import LeaseState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the helper runs as root")


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    with munged() as both:
        Path(both.socket).parent.chmod(0o755)
        yield both


@pytest.fixture(scope="module")
def running(daemons: Munged) -> Iterator[Site]:
    with warden(daemons) as site:
        yield site


@pytest.fixture
def helper(daemons: Munged) -> Iterator[HelperSite]:
    with running_helper(munge_socket=daemons.socket, owner=0) as site:
        yield site


def resource(running: Site, daemons: Munged, uid: int | None) -> QuantumResource:
    """The driver in a process that munge knows as another user than root."""
    return running.resource(context=JobContext(uid=uid, job_id="42"), QRMI_WARDEN_MUNGE_SOCKET=daemons.other)


def test_the_gateway_opens_and_closes_sessions_and_cancels_as_the_jobs_user(
    running: Site, daemons: Munged, helper: HelperSite
) -> None:
    with pytest.raises(AuthenticationFailed):
        resource(running, daemons, HOLDER.pw_uid).acquire()
    qpu = resource(running, daemons, HOLDER.pw_uid)
    lend_credentials(qpu, HelperClient(helper.socket))
    helper.journal.write(lease(42, HOLDER.pw_uid, LeaseState.GRANTING))
    token = qpu.acquire()
    task = qpu.submit(payload(1))
    task.wait(timeout=30)
    qpu.release(token)
    assert '"munge_root"} "done"' in helper.log
    assert f'{{"verb": "munge_user", "uid": "{HOLDER.pw_uid}"}} "done"' in helper.log


def test_a_user_whose_lease_has_ended_is_no_longer_spoken_for(
    running: Site, daemons: Munged, helper: HelperSite
) -> None:
    qpu = resource(running, daemons, HOLDER.pw_uid)
    lend_credentials(qpu, HelperClient(helper.socket))
    helper.journal.write(lease(42, HOLDER.pw_uid, LeaseState.RELEASED))
    with pytest.raises(HelperRefused, match=r"refused munge_user: user \d+ has no live lease of orion"):
        qpu.task_ids()


def test_without_a_job_the_gateway_asks_as_itself(running: Site, daemons: Munged, helper: HelperSite) -> None:
    qpu = resource(running, daemons, None)
    lend_credentials(qpu, HelperClient(helper.socket))
    assert qpu.target().json()["name"]
    assert "munge_" not in helper.log


def test_a_job_of_root_needs_no_lease(running: Site, daemons: Munged, helper: HelperSite) -> None:
    qpu = resource(running, daemons, 0)
    lend_credentials(qpu, HelperClient(helper.socket))
    assert qpu.task_ids() == []


def test_a_helper_that_is_away_is_named(running: Site, daemons: Munged, tmp_path: Path) -> None:
    qpu = resource(running, daemons, HOLDER.pw_uid)
    lend_credentials(qpu, HelperClient(tmp_path / "helper.sock"))
    with pytest.raises(
        HelperUnreachable, match=r"does not answer at .*helper.sock.*does `qrmi gateway helper` run"
    ) as info:
        qpu.acquire()
    assert info.value.transient
    assert not isinstance(info.value, ResourceUnavailable)
