# SPDX-License-Identifier: Apache-2.0
"""Batches on Pasqal's cloud and at a Warden outlive a gateway that is killed."""

from __future__ import annotations

import asyncio
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from doored import Doored, Job, doored
from mortal_gateway import mortal_gateway
from munge_daemon import Munged
from pasqal_cloud_case import CASE as CLOUD
from pasqal_cloud_case import rabi
from pasqal_local_case import pulse, warden
from vendor_site import Clock, Site

from qrmi_core import polling

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without the root helper, only root has leases of a Warden")

COUNT = 10
PLAIN = {"project_id": "x", "open": False}


def entries(cloud: Site, premises: Site) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": kind, "lanes": 2, "access": "gateway", "environment": {**vendor.environment}}
        for name, kind, vendor in (("paris", "pasqal-cloud", cloud), ("orion", "pasqal-local", premises))
    ]


@pytest.mark.slow
def test_results_arrive_after_the_gateway_was_killed_and_nothing_runs_twice(daemons: Munged, tmp_path: Path) -> None:
    with CLOUD.start() as cloud, warden(daemons) as premises:
        resources = entries(cloud, premises)
        sequences = {
            "paris": rabi(math.pi).to_abstract_repr(),
            "orion": pulse(math.pi).to_abstract_repr(),
        }
        with mortal_gateway(tmp_path, daemons, resources, "paris", "orion") as (job, _):
            made = []
            for number in range(COUNT):
                name = ("paris", "orion")[number % 2]
                body = {
                    "sequence_builder": sequences[name],
                    "jobs": [{"runs": 5}],
                    "project_id": "",
                    "tags": ["mine"],
                }
                status, answer = job.ask("POST", f"/r/{name}/core-fast/api/v1/batches", body)
                assert status == 200, answer
                made.append((name, answer["data"]["id"]))
        with doored(tmp_path, daemons.socket, resources) as case:
            case.do(case.gateway.until_ready())
            job = Job(job.lease, job.token, job.environment, case.url)
            for name, batch in made:
                path = f"/r/{name}/core-fast/api"
                assert job.ask("GET", f"{path}/v1/batches/{batch}/status")[1]["data"]["status"] == "DONE"
                view = job.ask("GET", f"{path}/v2/batches/{batch}")[1]["data"]
                assert (view["sequence_builder"], view["tags"]) == (sequences[name], ["mine"])
                (one,) = job.ask("GET", f"{path}/v2/jobs?batch_id={batch}")[1]["data"]
                link = job.ask("GET", f"{path}/v1/jobs/{one['id']}/results_link")[1]["data"]["results_link"]
                assert job.ask("GET", link.removeprefix(case.url))[1]["counter"] == {"1": 5}
            for vendor in (cloud, premises):
                assert vendor.emulator.devices[0].runs == COUNT // 2
            case.release(job)


def test_what_a_job_leaves_behind_is_cancelled_and_who_is_held_is_answered(daemons: Munged, tmp_path: Path) -> None:
    clock = Clock()
    clock.seconds = 600.0
    sequences = {"paris": rabi(math.pi).to_abstract_repr(), "orion": pulse(math.pi).to_abstract_repr()}
    with CLOUD.start(service_time=clock) as cloud, warden(daemons, service_time=clock) as premises:
        with ThreadPoolExecutor() as threads, doored(tmp_path, daemons.socket, entries(cloud, premises)) as case:
            left, stays = case.granted("paris", "orion"), case.granted("paris", "orion", account="other")
            held = []
            for name, sequence in sequences.items():
                path = f"/r/{name}/core-fast/api"
                body = {"sequence_builder": sequence, "jobs": [{"runs": 5}], **PLAIN}
                for job in (left, stays):
                    status, told = job.ask("POST", f"{path}/v1/batches", body)
                    assert status == 200, told
                held.append(threads.submit(stays.ask, "GET", f"{path}/v1/batches/{told['data']['id']}/status"))
            case.release(left)
            batches = list(cloud.emulator.dialect._batches.values())
            assert [batch.cancelled for batch in batches] == [True, False]
            devices = premises.emulator.devices[0]
            assert len(devices._cancelled) == 1
            case.do(all_held(case))
        assert [each.result(30)[0] for each in held] == [200, 200]
        assert [each.result(30)[1]["data"]["status"] in {"PENDING", "RUNNING"} for each in held] == [True, True]


async def all_held(case: Doored) -> None:
    """Until both looks wait for the vendors."""
    doors = [case.gateway.doors.door(kind) for kind in ("pasqal-cloud", "pasqal-local")]
    async with asyncio.timeout(30):
        while not all(any(watch.awaited for watch in door._watches.values()) for door in doors):  # type: ignore[union-attr]
            await polling.pause_async(0.01)
