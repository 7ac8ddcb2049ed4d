# SPDX-License-Identifier: Apache-2.0
"""`qrmi run` and programs that know their vendor's API only: what leads them to a simulator, and what does not."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from cli_site import QRMI, SECONDS, Site

from qrmi_core.vendor_environment import (
    DIGESTS,
    HOOK,
    MARK,
    extended_no_proxy,
    ibm_variables,
    marked,
    pasqal_variables,
    with_hook,
)

PYTHON = sys.executable
IBM = set(ibm_variables("", "", ""))
PASQAL = set(pasqal_variables("", ""))


def seen(site: Site, *arguments: str, **variables: str) -> dict[str, str]:
    """The environment of a program that `qrmi run` starts."""
    site.environment.update(variables)
    done = site.qrmi("run", *arguments, "--", PYTHON, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_only_our_values_count_and_the_users_list_of_hosts_grows(site: Site) -> None:
    own = {"QISKIT_IBM_TOKEN": "mine", "QISKIT_IBM_CHANNEL": "local", "IAM_URL": "https://elsewhere"}
    variables = seen(site, "--qpu=tiny", NO_PROXY="example.org", **own)
    assert variables.keys() >= IBM | PASQAL
    url = variables["IAM_URL"]
    assert variables["QISKIT_IBM_URL"] == f"{url}/experimental/api/v1"
    assert own.items().isdisjoint(variables.items())
    assert variables["NO_PROXY"] == variables["no_proxy"] == "example.org,127.0.0.1"
    assert set(variables[MARK].split(",")) == IBM | PASQAL


def test_off_leaves_the_users_own_alone(site: Site) -> None:
    variables = seen(site, "--qpu=tiny", "--qpu-env=off", QISKIT_IBM_TOKEN="mine")
    assert variables["QISKIT_IBM_TOKEN"] == "mine"
    assert not variables.keys() & ((IBM | PASQAL | {MARK}) - {"QISKIT_IBM_TOKEN"})


@pytest.mark.slow
def test_who_asks_for_the_qpu_is_handed_no_simulator(site: Site) -> None:
    job = {
        "QRMI_JOB_QPU_RESOURCES": "real,tiny",
        "QRMI_JOB_QPU_TYPES": "ibm-quantum-compute-service,tiny-simulator",
    }
    both = seen(site, **job)
    assert not both.keys() & IBM
    assert both.keys() >= PASQAL
    assert seen(site, "--qpu=tiny", **job).keys() >= IBM | PASQAL


@pytest.mark.slow
def test_an_allocation_inside_another_leaves_none_of_its_variables(site: Site) -> None:
    outer = marked(ibm_variables("http://127.0.0.1:9", "outer", "instance"))
    variables = seen(site, "--qpu=tiny", "--qpu-env=off", **outer)
    assert not variables.keys() & (IBM | {MARK})


@pytest.mark.slow
def test_part_of_an_allocation_keeps_what_leads_to_its_qpus(site: Site) -> None:
    led = marked(ibm_variables("http://gateway", "of the job", "instance"))
    job = {"QRMI_JOB_QPU_RESOURCES": "real,other", "QRMI_JOB_QPU_TYPES": "ibm-quantum-compute-service,iqm-server"}
    assert seen(site, "--qpu=real", **led, **job)["QISKIT_IBM_TOKEN"] == "of the job"


@pytest.mark.parametrize(
    ("option", "variable"),
    [pytest.param(["--pasqal-hook"], {}, marks=pytest.mark.slow), ([], {"QRMI_PASQAL_HOOK": "1"})],
)
def test_the_hook_stands_in_front_of_the_users_paths(site: Site, option: list[str], variable: dict[str, str]) -> None:
    before = site.environment["PYTHONPATH"]
    assert seen(site, "--qpu=tiny", *option, **variable)["PYTHONPATH"] == f"{HOOK}{os.pathsep}{before}"


@pytest.mark.slow
def test_no_hook_where_it_is_not_wanted(site: Site) -> None:
    before = site.environment["PYTHONPATH"]
    assert seen(site, "--qpu=tiny")["PYTHONPATH"] == before
    assert seen(site, "--qpu=tiny", "--no-pasqal-hook", QRMI_PASQAL_HOOK="1")["PYTHONPATH"] == before


@pytest.mark.slow
def test_a_hook_that_leads_nowhere_is_refused(site: Site) -> None:
    done = site.qrmi("run", "--qpu=aer_ideal", "--pasqal-hook", "--", "true")
    assert (done.returncode, "such as --qpu=pulser_analog" in done.stderr) == (2, True), done.stderr
    done = site.qrmi("run", "--qpu=tiny", "--pasqal-hook", "--qpu-env=off", "--", "true")
    assert "--qpu-env=off leads them nowhere" in done.stderr


def test_a_program_that_asks_no_vendor_costs_no_server(site: Site) -> None:
    command = [PYTHON, "-X", "importtime", QRMI, "run", "--qpu=tiny", "--", "true"]
    done = site.python(
        f"import subprocess; print(subprocess.run({command!r}, stderr=subprocess.PIPE, text=True).stderr)"
    )
    assert "qrmi_core.gateway.local_doors" in done
    assert "aiohttp" not in done


ASK = """
import os, sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for url in (os.environ["QISKIT_IBM_URL"] + "/backends", os.environ["QRMI_PASQAL_URL"] + "/account/api/v1/projects"):
    try:
        opener.open(url)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


def test_who_lacks_the_token_is_let_in_nowhere(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", PYTHON, "-c", ASK)
    assert done.stdout == "401\n401\n", done.stderr


REFUSED = """
import os, urllib.error, urllib.request
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(os.environ["IAM_URL"], timeout=30)
except OSError as error:
    print("nobody answers")
"""


def test_a_package_that_is_missing_is_told_of_when_a_program_needs_it(site: Site) -> None:
    (site.plug_ins / "aiohttp.py").write_text("raise ImportError('no aiohttp', name='aiohttp')\n")
    done = site.qrmi("run", "--qpu=tiny", "--", PYTHON, "-c", REFUSED)
    assert done.stdout == "nobody answers\n"
    expected = "the API of ibm-quantum-compute-service, which needs a package that is missing (aiohttp): pip install"
    assert expected in done.stderr
    assert site.qrmi("run", "--qpu=tiny", "--", "true").stderr == ""


WAIT = """
import json, os, pathlib, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
opener.addheaders = [("Authorization", "Bearer " + os.environ["QRMI_PASQAL_TOKEN"])]
batches = os.environ["QRMI_PASQAL_URL"] + "/core-fast/api/v1/batches"
sequence = json.dumps({"sleep": 300, "device": {"name": "any"}})
batch = {"sequence_builder": sequence, "jobs": [{"runs": 1}], "device_type": "EMU_FREE", "project_id": "mine"}
told = json.load(opener.open(batches, json.dumps(batch).encode()))
pathlib.Path("waiting").write_text(told["data"]["status"] + "\\n")
while True:
    opener.open(batches + "/" + told["data"]["id"] + "/status").read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("job", [{}, {"QRMI_JOB_QPU_RESOURCES": "tiny", "QRMI_JOB_QPU_TYPES": "tiny-simulator"}])
def test_who_is_told_to_end_waits_for_no_task(site: Site, job: dict[str, str]) -> None:
    site.environment.update(job)
    process = site.start("run", "--qpu=tiny", "--grace=1", "--", PYTHON, "-c", WAIT)
    site.wait_for_file("waiting")
    process.terminate()
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    (state,) = (Path(site.environment["XDG_STATE_HOME"]) / "qrmi/tasks/tiny").glob("*/jobs/*.state")
    assert json.loads(state.read_text())["status"] == "cancelled"


def test_two_names_of_one_qpu_are_the_same_qpu(site: Site) -> None:
    block = {"name": "mine", "type": "pasqal-cloud", "device": "FRESNEL", "environment": {}}
    config = site.script(json.dumps({"resources": [block]}), "qrmi_config.json")
    done = site.qrmi("run", "--qpu=mine,FRESNEL", "--config", config, "--", "true")
    assert "--qpu=mine,FRESNEL: FRESNEL and mine are the same QPU" in done.stderr


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        ({}, ("host", "host")),
        ({"NO_PROXY": "a, b"}, ("a,b,host", "a,b,host")),
        ({"no_proxy": "a"}, ("a,host", "a,host")),
        ({"NO_PROXY": "a", "no_proxy": "b"}, ("a,host", "b,host")),
        ({"NO_PROXY": "a", "no_proxy": ""}, ("a,host", "a,host")),
        ({"NO_PROXY": "", "no_proxy": "b"}, ("host", "b,host")),
        ({"NO_PROXY": "*", "no_proxy": "x,host"}, ("*", "x,host")),
    ],
)
def test_the_list_of_hosts_without_proxy(current: dict[str, str], expected: tuple[str, str]) -> None:
    extended = extended_no_proxy(current, "host")
    assert (extended["NO_PROXY"], extended["no_proxy"]) == expected


def test_what_an_allocation_outside_has_set_is_told_of_too() -> None:
    outer = marked({"IAM_URL": "outer", "OTHER": "a"})
    both = marked({"IAM_URL": "foobar"}, {**outer, "UNRELATED": "b"})
    assert both == {
        "IAM_URL": "foobar",
        MARK: "OTHER,IAM_URL",
        DIGESTS: "OTHER=af63dc4c8601ec8c+0+0,IAM_URL=85944171f73967e8+0+0",
    }


def test_the_hook_is_put_in_front_once() -> None:
    assert with_hook(None) == str(HOOK)
    once = with_hook("/a")
    assert with_hook(once) == once == f"{HOOK}{os.pathsep}/a"
