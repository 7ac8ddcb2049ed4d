# SPDX-License-Identifier: Apache-2.0
"""When a resource is out of service, and when it is back. With real Slurm: tests/system/test_outages.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qrmi_core import JobContext, QuantumResource, polling
from qrmi_core.drivers.pasqal_local import PasqalLocal
from qrmi_core.errors import ConfigurationError, InputError, QRMIError
from qrmi_core.gateway import outages as module
from qrmi_core.gateway.helper_client import HelperRefused, HelperUnreachable
from qrmi_core.gateway.outages import Outages

GAP = 0.02


@dataclass
class Reservations:
    """The names that are reserved; ``error`` is raised while there is one."""

    names: set[str] = field(default_factory=set)
    error: QRMIError | None = None
    lanes: dict[str, int | None] = field(default_factory=dict)

    def make_reservation(self, resource: str, reason: str, lanes: int | None = None) -> None:
        if self.error:
            raise self.error
        self.names.add(resource)
        self.lanes[resource] = lanes

    def lift_reservation(self, resource: str, reason: str) -> None:
        if self.error:
            raise self.error
        self.names.discard(resource)


class Vendor:
    """A server that tells whether its QPU is accessible, and how often it was asked."""

    def __init__(self) -> None:
        self.accessible = True
        self.asked = 0
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                vendor.asked += 1
                body = json.dumps({"is_accessible": vendor.accessible, "message": "a word"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{self.server.server_port}"
        values = {"QRMI_WARDEN_URL": url, "QRMI_HTTP_DEADLINE": "0.2", "QRMI_HTTP_CONNECT_TIMEOUT": "0.2"}
        self.resource = PasqalLocal.from_environment("orion", values, JobContext())

    @contextmanager
    def running(self) -> Iterator[Vendor]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor().running() as running:
        yield running


@pytest.fixture
def reservations() -> Reservations:
    return Reservations()


@pytest.fixture
def outages(tmp_path: Path, reservations: Reservations, vendor: Vendor) -> Outages:
    return started(tmp_path, reservations, vendor)


def started(directory: Path, reservations: Reservations, vendor: Vendor) -> Outages:
    def resource_of(name: str) -> QuantumResource:
        return vendor.resource

    return Outages(directory, reservations, resource_of, gap=GAP)


def look_after(outages: Outages) -> None:
    """What the gateway does every few seconds."""
    outages.confirm()
    outages.probe()


def back(outages: Outages, *, timeout: float = 5.0) -> bool:
    def look() -> bool:
        look_after(outages)
        return outages.reason("orion") is None

    return polling.wait_until(look, timeout=timeout)


def test_two_refusals_in_a_row_take_a_resource_out_of_service(outages: Outages, reservations: Reservations) -> None:
    outages.refused("orion", "503")
    outages.granted("orion")
    outages.refused("orion", "503")
    assert (outages.reason("orion"), reservations.names) == (None, set())
    outages.refused("other", "503")
    outages.refused("orion", "503 again")
    assert (outages.reason("orion"), outages.state("orion")) == ("503 again", "offline")
    assert reservations.names == {"orion"}
    assert outages.reason("other") is None


def test_offline_needs_to_be_said_once(outages: Outages, reservations: Reservations) -> None:
    outages.refused("orion", "calibration", offline=True)
    assert reservations.names == {"orion"}


def test_two_good_probes_end_an_outage(outages: Outages, reservations: Reservations, vendor: Vendor) -> None:
    vendor.accessible = False
    outages.refused("orion", "503", offline=True)
    assert not back(outages, timeout=0.2)
    assert vendor.asked > 2
    vendor.accessible, vendor.asked = True, 0
    assert back(outages)
    assert (vendor.asked, reservations.names) == (2, set())
    look_after(outages)
    assert vendor.asked == 2


def test_probes_keep_their_distance(tmp_path: Path, reservations: Reservations, vendor: Vendor) -> None:
    vendor.accessible = False
    outages = Outages(tmp_path, reservations, lambda name: vendor.resource, gap=60.0)
    outages.refused("orion", "503", offline=True)
    for _ in range(5):
        look_after(outages)
    assert vendor.asked == 1


def test_a_vendor_that_does_not_answer_is_not_back(tmp_path: Path, reservations: Reservations) -> None:
    silent = Vendor()
    with silent.running():
        outages = started(tmp_path, reservations, silent)
    outages.refused("orion", "no answer", offline=True)
    assert not back(outages, timeout=0.5)
    assert reservations.names == {"orion"}


def test_an_outage_goes_on_after_a_restart(tmp_path: Path, reservations: Reservations, vendor: Vendor) -> None:
    vendor.accessible = False
    started(tmp_path, reservations, vendor).refused("orion", "503", offline=True)
    reservations.names.clear()  # slurmctld lost it meanwhile
    again = started(tmp_path, reservations, vendor)
    assert again.reason("orion") == "503"
    look_after(again)
    assert reservations.names == {"orion"}
    vendor.accessible = True
    assert back(again)
    assert started(tmp_path, reservations, vendor).reason("orion") is None


def test_maintenance_is_never_ended_by_probes_nor_by_a_restart(
    tmp_path: Path, outages: Outages, reservations: Reservations, vendor: Vendor
) -> None:
    outages.maintenance("orion", "new  laser\n", "alice")
    assert (outages.reason("orion"), outages.state("orion")) == ("new laser", "maintenance")
    assert not back(outages, timeout=0.2)
    again = started(tmp_path, reservations, vendor)
    assert not back(again, timeout=0.2)
    assert (again.state("orion"), reservations.names, vendor.asked) == ("maintenance", {"orion"}, 0)
    again.maintenance("orion", None, "alice")
    again.maintenance("orion", None, "alice")
    assert (again.reason("orion"), reservations.names) == (None, set())


def test_an_outage_during_maintenance_ends_without_lifting_the_reservation(
    outages: Outages, reservations: Reservations
) -> None:
    outages.maintenance("orion", "new laser", "alice")
    outages.refused("orion", "503", offline=True)
    assert outages.reason("orion") == "new laser"
    assert not back(outages, timeout=0.3)
    assert reservations.names == {"orion"}
    outages.maintenance("orion", None, "alice")
    assert (outages.reason("orion"), reservations.names) == (None, set())


def test_maintenance_that_ends_during_an_outage_leaves_the_reservation(
    outages: Outages, reservations: Reservations, vendor: Vendor
) -> None:
    vendor.accessible = False
    outages.refused("orion", "503", offline=True)
    outages.maintenance("orion", "new laser", "alice")
    outages.maintenance("orion", None, "alice")
    assert (outages.reason("orion"), reservations.names) == ("503", {"orion"})


def test_maintenance_without_a_reason_is_refused(outages: Outages) -> None:
    with pytest.raises(InputError, match="say why"):
        outages.maintenance("orion", " ", "alice")


def test_maintenance_that_cannot_be_begun_or_ended_changes_nothing(
    outages: Outages, reservations: Reservations
) -> None:
    reservations.error = HelperUnreachable("away", transient=True)
    with pytest.raises(HelperUnreachable):
        outages.maintenance("orion", "new laser", "alice")
    assert outages.reason("orion") is None
    reservations.error = None
    outages.maintenance("orion", "new laser", "alice")
    reservations.error = HelperUnreachable("away", transient=True)
    with pytest.raises(HelperUnreachable):
        outages.maintenance("orion", None, "alice")
    assert outages.state("orion") == "maintenance"


def test_what_the_helper_could_not_do_is_done_later(
    outages: Outages, reservations: Reservations, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    vendor.accessible = False
    reservations.error = HelperUnreachable("away", transient=True)
    outages.refused("orion", "503", offline=True)
    assert (outages.reason("orion"), reservations.names) == ("503", set())
    reservations.error = None
    assert polling.wait_until(lambda: look_after(outages) or reservations.names == {"orion"}, timeout=5)
    reservations.error = HelperUnreachable("away", transient=True)
    vendor.accessible = True
    assert not back(outages, timeout=0.3)
    reservations.error = None
    assert back(outages)
    assert reservations.names == set()


def test_a_resource_that_was_taken_out_of_the_configuration_is_forgotten(
    outages: Outages, reservations: Reservations
) -> None:
    outages.refused("orion", "503", offline=True)
    reservations.error = HelperRefused("the configuration has none of that name")
    assert back(outages)


def test_one_that_answers_probes_and_refuses_jobs_is_let_back_later_each_time(
    outages: Outages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD", 0.3)
    outages.refused("orion", "503", offline=True)
    assert back(outages, timeout=0.25)
    outages.refused("orion", "503", offline=True)
    assert not back(outages, timeout=0.2)
    assert back(outages)
    outages.granted("orion")
    outages.refused("orion", "503", offline=True)
    assert back(outages, timeout=0.25)


def test_a_damaged_file_is_named(tmp_path: Path, reservations: Reservations, vendor: Vendor) -> None:
    (tmp_path / "outages.json").write_text('{"version": 1, "outages": 3}')
    with pytest.raises(ConfigurationError, match=r"outages\.json: it is damaged"):
        started(tmp_path, reservations, vendor)


def test_a_full_disk_keeps_no_outage_from_being_one(tmp_path: Path, reservations: Reservations, vendor: Vendor) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    outages = started(directory, reservations, vendor)
    directory.rmdir()
    outages.refused("orion", "503", offline=True)
    assert (outages.reason("orion"), reservations.names) == ("503", {"orion"})
    with pytest.raises(QRMIError, match=r"outages\.json cannot be written: No such file"):
        outages.maintenance("orion", "new laser", "alice")
    assert outages.state("orion") == "offline"


def test_a_pool_waits_while_none_of_its_members_is_in_service(tmp_path: Path, reservations: Reservations) -> None:
    pools = {"pair": ("one", "two")}
    outages = Outages(tmp_path, reservations, lambda _: None, pools=lambda: pools, gap=GAP)
    outages.maintenance("one", "new laser", "alice")
    assert outages.reason("pair") is None
    assert reservations.names == {"one"}
    outages.refused("two", "503", offline=True)
    assert outages.reason("pair") == "one: new laser; two: 503"
    assert reservations.names == {"one", "two", "pair"}
    outages.maintenance("one", None, "alice")
    assert reservations.names == {"two"}
    assert outages.reason("pair") is None


def test_of_a_pool_so_many_jobs_start_as_its_members_in_service_have_lanes(
    tmp_path: Path, reservations: Reservations
) -> None:
    pools, lanes = {"pool": ("one", "two"), "small": ("one", "two")}, {"one": 2, "two": 1, "pool": 3, "small": 1}
    outages = Outages(tmp_path, reservations, lambda _: None, pools=lambda: pools, lanes=lambda: lanes, gap=GAP)
    outages.maintenance("one", "a new fridge", "ada")
    assert (reservations.names, reservations.lanes["pool"]) == ({"one", "pool"}, 2)
    assert outages.reason("pool") is None
    outages.maintenance("two", "cold", "ada")
    assert (reservations.names, reservations.lanes["pool"]) == ({"one", "two", "pool", "small"}, None)
    outages.maintenance("one", None, "ada")
    assert (reservations.names, reservations.lanes["pool"]) == ({"two", "pool"}, 1)
    lanes["two"], lanes["pool"] = 4, 6
    outages.confirm()
    assert reservations.lanes["pool"] == 4
    outages.maintenance("two", None, "ada")
    assert reservations.names == set()


def test_a_pool_follows_its_members_when_the_helper_is_back(
    tmp_path: Path, reservations: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    outages = Outages(tmp_path, reservations, lambda _: None, pools=lambda: {"pool": ("one",)}, gap=GAP)
    reservations.error = HelperUnreachable("away", transient=True)
    outages.refused("one", "503", offline=True)
    assert reservations.names == set()
    reservations.error = None
    look_after(outages)
    assert "pool" in reservations.names


def test_a_reservation_of_a_pool_outlives_no_restart(tmp_path: Path, reservations: Reservations) -> None:
    reservations.names.add("pool")
    look_after(Outages(tmp_path, reservations, lambda _: None, pools=lambda: {"pool": ("one",)}, gap=GAP))
    assert reservations.names == set()


def test_vendors_are_probed_side_by_side(tmp_path: Path, reservations: Reservations) -> None:
    together = threading.Barrier(2)

    def resource_of(name: str) -> None:
        together.wait(10)  # broken, an error, where one is asked after the other

    outages = Outages(tmp_path, reservations, resource_of, gap=GAP)
    for name in ("one", "two"):
        outages.refused(name, "offline", offline=True)

    def both_are_back() -> bool:
        outages.probe()
        return outages.reason("one") is None and outages.reason("two") is None

    assert polling.wait_until(both_are_back, timeout=30)
