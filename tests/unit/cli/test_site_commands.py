# SPDX-License-Identifier: Apache-2.0
"""`qrmi qpus`, `leases`, `release` and `maintenance`, and a QPU that only the gateway knows: against a real gateway."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_site import Site

sys.path.append(str(Path(__file__).parents[2] / "vendors"))
sys.path.append(str(Path(__file__).parents[1] / "gateway"))

from gateway_case import RESOURCES, Case
from munge_daemon import OTHER_UID, Munged, munged
from vendor_site import site as vendor_site

from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState
from qrmi_core.leases.sqlite_journal import SqliteJournal

NOW = time.time()
FAR = NOW + 3600


def lease(number: int, job: int, uid: int, *held: Acquisition, array: str | None = None) -> LeaseRecord:
    holder = Holder(JobKey("c", job, 1, 0), uid=uid, user=f"user{uid}", nodes=("n1",), ends=FAR, array=array)
    return LeaseRecord(f"{number:032x}", LeaseState.GRANTED, NOW, FAR, held, holder)


def held(resource: str, state: AcquisitionState = AcquisitionState.ACQUIRED, **more: object) -> Acquisition:
    token = None if resource == "aer" else "token"  # nothing is acquired of a simulator
    return Acquisition(resource, state, token, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Munged]:
    with munged() as running:
        yield running


@pytest.fixture
def gateway(daemons: Munged, tmp_path: Path) -> Iterator[Case]:
    directory = tmp_path / "gateway"
    directory.mkdir()
    case = Case(directory, daemons.socket)
    own, uncertain = os.getuid(), {"until": FAR, "reason": "its answer is lost"}
    journal = SqliteJournal(directory / "journal.sqlite")
    journal.write(lease(1, 41, own, held("aer")))
    journal.write(lease(2, 43, OTHER_UID, held("aer"), array="42_1"))
    journal.write(lease(3, 44, OTHER_UID, held("Fez", AcquisitionState.UNCERTAIN, **uncertain)))
    journal.close()
    with case.running():
        yield case


@pytest.fixture
def here(site: Site, gateway: Case) -> Site:
    """A host with a client.json."""
    site.environment["QRMI_CLIENT_CONFIG"] = str(client_file(gateway, gateway.munge_socket))
    return site


def client_file(gateway: Case, munge_socket: str, resources: list[dict[str, Any]] = RESOURCES) -> Path:
    listed = [{key: each[key] for key in ("name", "type", "lanes") if key in each} for each in resources]
    path = gateway.directory / f"client-{Path(munge_socket).name}.json"
    url = f"unix:{gateway.admin}"
    path.write_text(json.dumps({"url": url, "munge_socket": munge_socket, "resources": listed}))
    return path


@pytest.fixture
def other(gateway: Case, daemons: Munged) -> str:
    """The option that makes a command one of another user."""
    return str(client_file(gateway, daemons.other))


def test_the_qpus_of_the_site(here: Site) -> None:
    done = here.qrmi("qpus")
    assert done.returncode == 0, done.stderr
    heading, aer, fez = done.stdout.splitlines()
    assert heading.split() == ["QPU", "TYPE", "FREE", "STATE", "LEASES", "QUEUE", "REASON", "DESCRIPTION"]
    assert re.fullmatch(r"aer +aer-simulator +0/2 +online +2 +a simulator", aer)
    assert re.fullmatch(r"Fez +ibm-quantum-compute-service +1/1 +unknown +1 .*127\.0\.0\.1.*", fez)
    told = json.loads(here.qrmi("qpus", "--json").stdout)
    assert [(each["name"], each["free"], each["lanes"]) for each in told] == [("aer", 0, 2), ("Fez", 1, 1)]


def test_a_user_sees_own_leases_and_an_operator_all(here: Site, other: str) -> None:
    (own,) = json.loads(here.qrmi("leases", "--json").stdout)
    assert (own["job"], own["resources"][0]["name"]) == ("41", "aer")
    theirs = here.qrmi("leases", "--client-config", other).stdout.splitlines()
    assert [line.split()[:4] for line in theirs[1:]] == [
        ["42_1", f"user{OTHER_UID}", "aer", "1"],
        ["44", f"user{OTHER_UID}", "Fez", "1"],
    ]
    assert "uncertain" in theirs[2]
    assert "its answer is lost; " in theirs[2]
    refused = here.qrmi("leases", "--all", "--client-config", other)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"qrmi: the gateway refuses: .*may not do that\n", refused.stderr)
    if os.getuid() == 0:
        assert len(json.loads(here.qrmi("leases", "--all", "--json").stdout)) == 3


def test_a_job_is_released_once_and_by_who_may(here: Site, other: str) -> None:
    theirs = here.qrmi("release", "41", "--client-config", other)
    assert theirs.returncode == 1
    assert "may not do that" in theirs.stderr
    done = here.qrmi("release", "41")
    assert (done.returncode, done.stdout) == (0, f"given back: {1:032x}\n")
    assert json.loads(here.qrmi("leases", "--json").stdout) == []
    again = here.qrmi("release", "41")
    assert again.returncode != 0
    assert len(again.stderr.splitlines()) == 1


def test_a_task_of_an_array_is_found_by_its_name(here: Site, other: str) -> None:
    done = here.qrmi("release", "42_1", "--json", "--client-config", other)
    assert json.loads(done.stdout) == {"released": [f"{2:032x}"], "pending": []}
    gone = here.qrmi("release", "42_1", "--client-config", other)
    assert gone.returncode == 2
    assert gone.stderr == "qrmi: job 42_1 holds no QPU; `qrmi leases` shows which do\n"


@pytest.mark.parametrize("job", ["0", "x", "42_", "4 2", "42_1_1", "--"])
def test_what_is_no_job_is_said(here: Site, job: str) -> None:
    done = here.qrmi("release", job)
    assert done.returncode == 2


@pytest.mark.skipif(os.getuid() != 0, reason="root on the gateway's host is an operator, others are by gateway.json")
def test_maintenance_is_seen_by_everybody_with_its_reason(here: Site, other: str) -> None:
    done = here.qrmi("maintenance", "Fez", "--on", "recabling until 14:00")
    assert (done.returncode, done.stdout) == (0, "Fez is out of service: recabling until 14:00\n")
    seen = here.qrmi("qpus", "--client-config", other).stdout
    assert re.search(r"^Fez .* maintenance +1 +recabling until 14:00$", seen, re.MULTILINE)
    assert json.loads(here.qrmi("maintenance", "Fez", "--off", "--json").stdout) == {"name": "Fez", "maintenance": None}
    assert "recabling" not in here.qrmi("qpus").stdout


def test_maintenance_is_for_operators(here: Site, other: str) -> None:
    done = here.qrmi("maintenance", "Fez", "--on", "why not", "--client-config", other)
    assert done.returncode == 1
    assert "may not do that" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Fez"], 'say which: qrmi maintenance Fez --on "reason", or --off'),
        (["Fez", "--on", "x", "--off"], "say which"),
        (["Fez", "--on", " "], "--on needs a reason"),
    ],
)
def test_maintenance_must_be_said_clearly(here: Site, arguments: list[str], message: str) -> None:
    done = here.qrmi("maintenance", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_qpu_that_only_the_gateway_knows_is_asked_through_it(site: Site, daemons: Munged, tmp_path: Path) -> None:
    directory = tmp_path / "gateway"
    directory.mkdir()
    with vendor_site("pasqal-cloud") as vendor:
        fresnel = {"name": "fresnel", "type": "pasqal-cloud", "environment": dict(vendor.environment)}
        vendor.resource().target()  # the first answer of the vendor's simulator takes long
        with Case(directory, daemons.socket, resources=[fresnel]).running() as gateway:
            site.environment["QRMI_CLIENT_CONFIG"] = str(client_file(gateway, daemons.other, [fresnel]))
            site.environment["SLURM_JOB_ID"] = "99"  # a job without a QPU
            told = site.qrmi("status", "fresnel")
            assert told.returncode == 0, told.stderr
            assert re.search(r"^fresnel +online", told.stdout, re.MULTILINE)
            one = json.loads(site.qrmi("status", "fresnel", "--json").stdout)
            assert (one["name"], one["type"], one["status"]) == ("fresnel", "pasqal-cloud", "online")
            assert "version" not in one
            target = site.qrmi("target", "fresnel")
            assert target.returncode == 0, target.stderr
            assert json.loads(target.stdout)[0]["specs"]


def test_what_the_gateway_cannot_tell_is_said_in_one_line(here: Site) -> None:
    done = here.qrmi("target", "Fez")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "planted-key" not in done.stderr + done.stdout


def test_what_is_known_here_is_not_asked_of_the_gateway(here: Site) -> None:
    here.environment["QRMI_CLIENT_CONFIG"] = str(here.script("{", "broken.json"))
    assert here.qrmi("target", "tiny").returncode == 0
    unknown = here.qrmi("target", "Fez")
    assert unknown.returncode == 2
    assert "broken.json" in unknown.stderr


@pytest.mark.parametrize(
    "command",
    [["qpus"], ["leases"], ["release", "1"], ["maintenance", "Fez", "--off"]],
)
def test_a_host_without_a_gateway_is_told_so_in_one_line(site: Site, command: list[str]) -> None:
    site.environment["QRMI_CLIENT_CONFIG"] = str(site.directory / "client.json")
    done = site.qrmi(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"qrmi: \S+client\.json: it cannot be read: No such file or directory\n", done.stderr)
    site.script('{"url": "http://127.0.0.1:9", "munge_socket": "/nowhere"}', "client.json")
    done = site.qrmi(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


def test_lines_for_a_shell_name_the_private_cluster(site: Site) -> None:
    done = site.qrmi("slurm", "env")
    assert done.returncode == 2
    assert "start the private cluster with `make cluster`" in done.stderr
    etc = site.directory / "my cluster" / "etc"
    etc.mkdir(parents=True)
    (etc / "slurm.conf").touch()
    (etc / "client.json").touch()
    done = site.qrmi("slurm", "env", "my cluster")
    assert done.stdout == f"export SLURM_CONF='{etc}/slurm.conf'\nexport QRMI_CLIENT_CONFIG='{etc}/client.json'\n"


def test_files_for_slurm_are_written_from_the_command_line(site: Site) -> None:
    first = site.qrmi("slurm", "files", "out")
    assert first.returncode == 0, first.stderr
    assert re.search(r"^0755  out/node/qrmi-prolog$", first.stdout, re.MULTILINE)
    (site.directory / "out" / "job_submit.lua").write_text("-- the site's")
    second = site.qrmi("slurm", "files", "out")
    assert second.returncode == 2
    assert second.stderr.endswith("nothing was written: out/job_submit.lua; --force overwrites them\n")
    forced = json.loads(site.qrmi("slurm", "files", "out", "--force", "--json").stdout)
    assert [each["path"] for each in forced if each["changed"]] == ["out/job_submit.lua"]


def test_what_slurm_is_told_goes_to_files_or_to_the_screen(site: Site) -> None:
    site.script('{"resources": [{"name": "tiny2", "type": "tiny-simulator", "environment": {}}]}', "qrmi_config.json")
    told = ["slurm", "configure", "--config", "qrmi_config.json", "--gateway", "https://head:7811"]
    shown = site.qrmi(*told)
    assert "==> qrmi_slurm.conf <==\n" in shown.stdout
    assert "Licenses=qpu_tiny2:1\n" in shown.stdout
    assert site.qrmi(*told, "--output", "out").returncode == 0
    assert sorted(path.name for path in (site.directory / "out").iterdir()) == [
        "client.json", "node.json", "qrmi_plugstack.conf", "qrmi_qpus.lua", "qrmi_sacctmgr.sh", "qrmi_slurm.conf",
    ]  # fmt: skip
    wrong = site.qrmi("slurm", "configure", "--config", "qrmi_config.json", "--gateway", "head")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_check_says_where_slurm_is_not(site: Site) -> None:
    done = site.qrmi("check", "--slurm", "--slurm-conf", "nowhere.conf", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["fine"] is False
    first = told["checks"][0]
    assert (first["check"], first["result"]) == ("slurmctld", "wrong")
    assert first["advice"]
