# SPDX-License-Identifier: Apache-2.0
"""What a job gets of each resource, and who may have it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qrmi_core import ConfigurationError, LeaseRefused
from qrmi_core.config import Configuration
from qrmi_core.environment import read_job
from qrmi_core.gateway.environments import Environments
from qrmi_core.leases import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState

IBM = {
    "name": "Fez",
    "type": "ibm-quantum-compute-service",
    "device": "ibm_fez",
    "environment": {
        "QRMI_IBM_QCS_ENDPOINT": "http://127.0.0.1:9",
        "QRMI_IBM_QCS_IAM_ENDPOINT": "http://127.0.0.1:9",
        "QRMI_IBM_QCS_IAM_APIKEY": "key",
        "QRMI_IBM_QCS_SERVICE_CRN": "crn",
    },
}
AER = {"name": "aer", "type": "aer-simulator", "environment": {}, "lanes": 3}


def made(*resources: Any, pools: Any = ()) -> Environments:
    told = {"resources": list(resources), "pools": list(pools)}
    return Environments(Configuration.checked(told), "/etc/qrmi/qrmi_config.json")


def holder(*, ends: float | None = None, uid: int | None = None, account: str = "") -> Holder:
    who = os.getuid() if uid is None else uid
    return Holder(JobKey("c", 42, 1, 0), uid=who, user="me", account=account, nodes=("n1",), ends=ends)


def lease(*acquisitions: Acquisition, ends: float | None = None) -> LeaseRecord:
    return LeaseRecord("0a" * 16, LeaseState.GRANTED, time.time(), ends, acquisitions, holder=holder(ends=ends))


def test_direct_access_hands_over_the_block_and_the_acquisition() -> None:
    session = Acquisition("Fez", AcquisitionState.ACQUIRED, "session-1")
    variables = made(IBM, AER).of_lease(lease(session, Acquisition("aer"), ends=time.time() + 600))
    assert variables.defaults["Fez_QRMI_IBM_QCS_IAM_APIKEY"] == "key"
    assert "'key'" not in repr(variables)
    told = {**variables.environment, **variables.defaults}
    assert {key: value for key, value in told.items() if not key.startswith("Fez_QRMI_IBM")} == {
        "QRMI_JOB_QPU_RESOURCES": "Fez,aer",
        "QRMI_JOB_QPU_TYPES": "ibm-quantum-compute-service,aer-simulator",
        "QRMI_JOB_UID": str(os.getuid()),
        "QRMI_JOB_ID": "42",
        "QRMI_LEASE_ID": "0a" * 16,
        "Fez_QRMI_DEVICE": "ibm_fez",
        "Fez_QRMI_JOB_ACQUISITION_TOKEN": "session-1",
        "Fez_QRMI_JOB_TIMEOUT_SECONDS": told["Fez_QRMI_JOB_TIMEOUT_SECONDS"],
    }
    assert 590 <= int(told["Fez_QRMI_JOB_TIMEOUT_SECONDS"]) <= 600
    assert told["Fez_QRMI_IBM_QCS_IAM_APIKEY"] == "key"
    job = read_job(told)
    assert job is not None
    assert [(each.name, each.acquisition_token) for each in job.resources] == [("Fez", "session-1"), ("aer", None)]


def test_simulators_run_with_the_job_and_are_not_imported() -> None:
    before = set(sys.modules)
    site = made(AER, {**AER, "name": "here", "type": "pulser-simulator"})
    assert site.access("aer") == "local"
    assert site.make("aer", holder(), None, 5.0) is None
    assert site.of_lease(lease(Acquisition("aer"))).environment["QRMI_JOB_QPU_RESOURCES"] == "aer"
    assert {name.partition(".")[0] for name in set(sys.modules) - before}.isdisjoint(
        {"qiskit", "qrmi_qiskit", "pulser"}
    )


def test_a_vendors_resource_is_made_in_a_hurry() -> None:
    resource = made(IBM).make("Fez", holder(ends=time.time() + 100), "t", 5.0)
    assert resource is not None
    assert (resource.context.acquisition_token, resource.context.job_id, resource.context.uid) == (
        "t",
        "42",
        os.getuid(),
    )


def test_where_users_bring_the_key_nothing_is_acquired() -> None:
    block = {key: value for key, value in IBM["environment"].items() if "APIKEY" not in key}
    assert made({**IBM, "environment": block}).make("Fez", holder(), None, 5.0) is None


def test_gateway_access_needs_a_gateway_that_jobs_reach() -> None:
    with pytest.raises(ConfigurationError, match=r"resources\[1\].access: jobs cannot reach the gateway: set"):
        made(AER, {**IBM, "access": "gateway"})


@pytest.mark.parametrize(
    ("entry", "place", "text"),
    [
        ({"type": "ibm-quantum"}, "type", "no driver is installed for the type ibm-quantum: did you mean"),
        ({"access": "local"}, "access", "local is for simulators, and jobs would get the site's credential"),
        ({"QRMI_IBM_QCS_IAM_APIKEY": None, "QRMI_IBM_QCS_IAM_APIKY": "planted"}, "environment.QRMI_IBM_QCS_IAM_APIKY",
         "did you mean QRMI_IBM_QCS_IAM_APIKEY?"),
        ({"QRMI_IBM_QCS_SERVICE_CRN": None}, "environment", "needs QRMI_IBM_QCS_SERVICE_CRN"),
        ({"QRMI_IBM_QCS_SERVICE_CRN": ""}, "environment.QRMI_IBM_QCS_SERVICE_CRN", "needs QRMI_IBM_QCS_SERVICE_CRN"),
    ],
)  # fmt: skip
def test_an_entry_that_does_not_fit_its_type_is_refused(entry: dict[str, str | None], place: str, text: str) -> None:
    block = {**IBM["environment"], **{name: value for name, value in entry.items() if name.isupper()}}
    block = {name: value for name, value in block.items() if value is not None}
    rest = {name: value for name, value in entry.items() if not name.isupper()}
    with pytest.raises(ConfigurationError, match=rf"resources\[0\]\.{place}: .*{re.escape(text)}") as refused:
        made({**IBM, **rest, "environment": block})
    assert "planted" not in str(refused.value)


def test_a_simulator_is_reached_inside_the_job_only() -> None:
    with pytest.raises(ConfigurationError, match=r"resources\[0\]\.access: a simulator runs inside the job: leave"):
        made({**AER, "access": "direct"})


def test_what_drivers_say_of_values_is_told_for_each_resource(tmp_path: Path) -> None:
    wrong = {"QRMI_IBM_QCS_SESSION_MODE": "batched"}
    gone = {"QRMI_IBM_QCS_IAM_APIKEY": {"file": str(tmp_path / "key")}}
    users = {key: value for key, value in IBM["environment"].items() if "APIKEY" not in key}
    entries = {"Mode": IBM["environment"] | wrong, "Key": IBM["environment"] | gone, "Users": users}
    site = made(IBM, AER, *({**IBM, "name": name, "environment": block} for name, block in entries.items()))
    problems = site.problems()
    assert sorted(problems) == ["Key", "Mode"]
    assert "QRMI_IBM_QCS_SESSION_MODE of Mode is 'batched'" in problems["Mode"]
    assert str(tmp_path / "key") in problems["Key"]


def test_a_value_that_cannot_be_handed_over_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"resources\[0\].environment.QRMI_X: a value with a line break"):
        made({**AER, "environment": {"QRMI_X": "a\nb"}})


def test_a_secret_with_a_line_break_is_not_handed_over(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a\nb")
    block = {**IBM["environment"], "QRMI_IBM_QCS_IAM_APIKEY": {"file": str(tmp_path / "key")}}
    with pytest.raises(ConfigurationError, match="Fez_QRMI_IBM_QCS_IAM_APIKEY has a line break") as error:
        made({**IBM, "environment": block}).of_lease(lease(Acquisition("Fez")))
    assert "a\nb" not in str(error.value)


def test_licences_become_resources_and_pools() -> None:
    site = made(IBM, AER, pools=[{"name": "Any", "members": ["aer"]}])
    assert site.wanted({"qpu_fez": 1, "qpu_any": 2, "matlab": 5}) == {"Fez": 1, "Any": 2}
    with pytest.raises(LeaseRefused, match="the job holds the licence qpu_kyiv, and the gateway knows no such QPU"):
        site.wanted({"qpu_kyiv": 1})


def test_who_may() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    mine = grp.getgrgid(os.getgid()).gr_name
    for lists, account, may in (
        ({}, "", True),
        ({"users": [me]}, "", True),
        ({"users": ["nobody"]}, "", False),
        ({"groups": [mine]}, "", True),
        ({"groups": ["nogroup-of-mine"]}, "", False),
        ({"accounts": ["physics"]}, "physics", True),
        ({"accounts": ["physics"]}, "", False),
        ({"users": ["nobody"], "accounts": ["physics"]}, "physics", True),
    ):
        reason = made({**AER, **lists}, pools=[{"name": "p", "members": ["aer"]}]).refusal("p", holder(account=account))
        assert (reason is None) is may, (lists, account, reason)
    unknown = made({**AER, "users": [me]}).refusal("aer", holder(uid=4_000_000))
    assert unknown is not None
    assert unknown.endswith("may not use aer: ask the site's administrators for it")


def test_the_longest_lease() -> None:
    site = made({**AER, "max_lease": 600})
    assert site.refusal("aer", holder(ends=time.time() + 600)) is None
    for ends in (None, time.time() + 3600):
        assert site.refusal("aer", holder(ends=ends)) == (
            "aer is lent for 600 seconds at most: submit the job with --time=10"
        )
