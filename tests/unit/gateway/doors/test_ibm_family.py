# SPDX-License-Identifier: Apache-2.0
"""A job with a QPU in IBM's cloud and a machine on premises: one instance for IBM's client."""

from __future__ import annotations

from pathlib import Path

import pytest
from doored import doored
from ibm_site import ROOT, cloud, entry, job_body, shows
from ibm_system_case import start
from munge_daemon import Munged

from qrmi_core import polling

PATIENCE = 60.0

pytestmark = pytest.mark.timeout(200)


def test_a_job_with_both_has_one_instance(daemons: Munged, tmp_path: Path) -> None:
    with cloud() as site, start() as machine:
        onsite = {"name": "onsite", "type": "ibm-quantum-system", "lanes": 9, "environment": dict(machine.environment)}
        with doored(tmp_path, daemons.socket, [entry("Fez", site), onsite]) as gateway:
            job, other = gateway.granted("Fez", "onsite"), gateway.granted("Fez", "onsite", uid=4001)
            names = [each["name"] for each in job.ask("GET", f"{ROOT}/backends")[1]["devices"]]
            assert {"Fez", "onsite"} <= set(names)
            made = {}
            for number, name in enumerate(("Fez", "onsite")):
                status, told = job.ask("POST", f"{ROOT}/jobs", job_body(number, backend=name))
                assert status == 200, told
                made[name] = told["id"]
            for number, (name, task) in enumerate(made.items()):

                def is_done(task: str = task) -> bool:
                    told = job.ask("GET", f"{ROOT}/jobs/{task}?exclude_params=true")[1]
                    return bool(told["state"]["status"] == "Completed")

                assert polling.wait_until(is_done, timeout=PATIENCE), name
                shows(job.ask("GET", f"{ROOT}/jobs/{task}/results")[1], number)
                assert other.ask("GET", f"{ROOT}/jobs/{task}")[0] == 404
            assert {each["id"] for each in job.ask("GET", f"{ROOT}/jobs")[1]["jobs"]} == set(made.values())
            assert other.ask("GET", f"{ROOT}/jobs")[1]["count"] == 0
            assert job.ask("GET", f"{ROOT}/instances/usage")[0] == 200
            session = job.ask("POST", f"{ROOT}/sessions", {"mode": "batch", "backend": "Fez"})[1]["id"]
            assert job.ask("POST", f"{ROOT}/jobs", job_body(backend="onsite", session_id=session))[0] == 404
