# SPDX-License-Identifier: Apache-2.0
"""How long pasqal-cloud's create_batch(wait=True) takes: by the gateway's doors, and directly.

python tests/benchmarks/pasqal_door.py [--repetitions 7]

In front of a Warden there is nothing to compare with: pasqal-cloud does not speak to it by itself.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / each) for each in ("unit/gateway/doors", "unit/gateway", "vendors")]

from door_waits import SERVICE_TIMES, Order, head, row  # noqa: E402
from doored import doored  # noqa: E402
from munge_daemon import Munged, munged  # noqa: E402
from pasqal_cloud_case import CASE, rabi  # noqa: E402
from pasqal_local_case import pulse, warden  # noqa: E402
from vendor_site import Site  # noqa: E402

from qrmi_core import PulserBatch, PulserJob, QRMIService  # noqa: E402
from qrmi_core.gateway.dialects import dialect  # noqa: E402
from qrmi_core.gateway.dialects.pasqal_accounts import USER  # noqa: E402

CORE = "/core-fast/api"
BATCHES = f"GET {CORE}/v1/batches"
LOOKS = (BATCHES, f"{BATCHES}/{{batch}}/status", "GET /jobs/{job}")
APART = 1.5
SHORT = 0.1
PROGRAM = """
import json, os, sys, time
from pasqal_cloud.endpoints import Endpoints, TokenProviderConf
from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient

together, apart, seconds, username, project = json.loads(sys.argv[1])
url = os.environ["QRMI_PASQAL_URL"]
auth = TokenProviderConf.from_region(None)
auth.token_endpoint = f"{url}/oauth/token"
client = PasqalCloudClient(
    username=username, password=os.environ["QRMI_PASQAL_TOKEN"], project_id=project, auth_config=auth,
    endpoints=Endpoints(core=f"{url}/core-fast", account=f"{url}/account"),
)
waits = []
for place in range(1 + together + apart):
    if place > together:
        time.sleep(seconds)
    begun = time.perf_counter()
    batch = client.create_batch(serialized_sequence=os.environ["SEQUENCE"], jobs=[{"runs": 10}], wait=True)
    waits.append(time.perf_counter() - begun)
    assert batch.status == "DONE", batch
print(json.dumps(waits[1:]))
"""


@dataclass(frozen=True)
class Way:
    """How the vendor is reached."""

    name: str
    type: str
    min_poll: str = ""
    direct: bool = False


WAYS = (
    Way("cloud's door, min_poll 0", "pasqal-cloud", "0"),
    Way("cloud's door, default (0.5 s)", "pasqal-cloud"),
    Way("cloud directly", "pasqal-cloud", direct=True),
    Way("Warden's door, min_poll 0", "pasqal-local", "0"),
    Way("Warden's door, default (1 s)", "pasqal-local"),
)


def main() -> None:
    """Each way with its own vendor, whose service times follow the order of submissions."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=7)
    repetitions = options.parse_args().repetitions
    head(f"create_batch(wait=True), one after another; the last row of each: {APART} s apart")
    with munged() as daemons:
        for way in WAYS:
            _tried(way, daemons, repetitions)


def _tried(way: Way, daemons: Munged, repetitions: int) -> None:
    times = [each for each in (*SERVICE_TIMES, SHORT) for _ in range(repetitions)]
    order, directory = Order([0.0, *times]), Path(tempfile.mkdtemp())
    program = directory / "program.py"
    program.write_text(PROGRAM)
    sequence = (pulse(math.pi) if way.type == "pasqal-local" else rabi(math.pi)).to_abstract_repr()
    with _vendor(way, daemons, order) as site:
        order.requests = lambda: site.emulator.counters.requests.copy()
        gap = {"QRMI_MIN_POLL": way.min_poll} if way.min_poll else {}
        entry = {"name": "paris", "type": way.type, "lanes": 50, "environment": {**site.environment, **gap}}
        with doored(directory, daemons.socket, [{**entry, "access": "gateway"}]) as gateway:
            job, told = gateway.granted("paris"), ("me@example.org", "my-own-project")
            if way.direct:
                own = site.environment
                job.environment = {
                    "QRMI_PASQAL_URL": site.emulator.url,
                    "QRMI_PASQAL_TOKEN": own["QRMI_PASQAL_CLOUD_CLIENT_SECRET"],
                }
                told = (USER, own["QRMI_PASQAL_CLOUD_PROJECT_ID"])
            asked: list[Any] = [len(times) - repetitions, repetitions, APART, *told]
            done = job.run(program, directory, json.dumps(asked), timeout=600.0, SEQUENCE=sequence)
        if done.returncode:
            sys.exit(done.stderr)
        waits = json.loads(done.stdout)
        for place, seconds in enumerate((*SERVICE_TIMES, SHORT)):
            first = place * repetitions
            requests = order.between(1 + first, 1 + first + repetitions)
            row(way.name, seconds, waits[first : first + repetitions], requests, LOOKS)


def _vendor(way: Way, daemons: Munged, order: Order) -> AbstractContextManager[Site]:
    """A vendor whose engine has run already and gives that result again, so that a task takes its service time only."""
    engine = QRMIService().resource(dialect(way.type).engine)
    run = engine.task_start(PulserBatch(pulse(math.pi).to_abstract_repr().encode(), (PulserJob(10),)))
    engine.task_wait([run])
    engine.task_start = lambda _: run  # type: ignore[method-assign]
    if way.type == "pasqal-local":
        return warden(daemons, engine=engine, service_time=order)
    return CASE.start(engine=engine, service_time=order)


if __name__ == "__main__":
    main()
