# SPDX-License-Identifier: Apache-2.0
"""`qrmi resources`, `target`, `status` and `check`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_site import Site

sys.path.append(str(Path(__file__).parents[2] / "vendors"))

from vendor_site import site as vendor_site

CONFIGURED = {
    "resources": [
        {"name": "mine", "type": "tiny-simulator", "environment": {"QRMI_ENGINE_LANES": "3"}},
        {"name": "misspelt", "type": "tiny-simulator", "environment": {"QRMI_ENGINE_SEAD": "3"}},
        {"name": "unknown", "type": "no-such-type", "environment": {}},
    ]
}


@pytest.fixture
def config(site: Site) -> str:
    return str(site.script(json.dumps(CONFIGURED), "qrmi_config.json"))


def told(site: Site, *arguments: str) -> Any:
    return json.loads(site.qrmi(*arguments, "--json").stdout)


def by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name} "))


def test_resources_are_listed_with_what_is_wrong_with_them(site: Site, config: str) -> None:
    found = by_name(told(site, "resources", "--config", config))
    assert found["mine"] == {"name": "mine", "type": "tiny-simulator", "origin": config, "problem": None}
    assert found["tiny"]["origin"] == "embedded"
    assert re.search("has no variable QRMI_ENGINE_SEAD; did you mean QRMI_ENGINE_SEED", found["misspelt"]["problem"])
    assert re.search("no driver is installed for the type no-such-type", found["unknown"]["problem"])


def test_a_listing_in_a_pipe_has_one_line_for_each_resource(site: Site, config: str) -> None:
    done = site.qrmi("resources", "--config", config)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "FROM", "PROBLEM"]
    assert re.fullmatch(rf"mine +tiny-simulator +{re.escape(config)}", row(done.stdout, "mine"))
    assert len(lines) == 1 + len(told(site, "resources", "--config", config))
    assert done.returncode == 0


def test_resources_of_a_job_are_the_jobs(site: Site) -> None:
    done = site.qrmi("run", "--qpu=tiny", "--", "qrmi", "resources", "--json")
    assert json.loads(done.stdout) == [{"name": "tiny", "type": "tiny-simulator", "origin": "job", "problem": None}]


def test_a_broken_plug_in_is_told_and_hides_nothing(site: Site) -> None:
    site.add_plug_in("broken-simulator", "no_such_module:Engine")
    done = site.qrmi("resources")
    assert re.match(r"qrmi: the driver for broken-simulator cannot be loaded \(no_such_module:Engine", done.stderr)
    assert row(done.stdout, "tiny")
    assert done.returncode == 0


@pytest.mark.parametrize("command", [["target", "gone"], ["status", "gone"], ["run", "--qpu=gone", "--", "true"]])
def test_a_broken_plug_in_is_told_where_a_name_is_not_found(site: Site, command: list[str]) -> None:
    site.add_plug_in("broken-simulator", "no_such_module:Engine")
    done = site.qrmi(*command)
    assert done.returncode == 2
    assert re.match(r"qrmi: the driver for broken-simulator cannot be loaded.*\nqrmi: .*no QPU named gone", done.stderr)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_the_target_is_the_vendors_json(site: Site, option: list[str]) -> None:
    assert site.qrmi("target", "tiny", *option).stdout == '{"configuration": {"n_qubits": 2, "simulator": true}}\n'


def test_the_status_of_one(site: Site, config: str) -> None:
    assert told(site, "status", "mine", "--config", config) == {
        "name": "mine",
        "type": "tiny-simulator",
        "status": "online",
        "status_reason": None,
        "healthy": True,
        "busy": False,
        "capacity": {"max_slots": 3, "available_slots": 3},
        "pending_job_count": 0,
    }


def test_the_status_of_all(site: Site, config: str) -> None:
    done = site.qrmi("status", "--config", config)
    assert re.fullmatch(r"mine +online +0 +3 of 3", row(done.stdout, "mine"))
    assert re.fullmatch(r"unknown +unusable .*no driver is installed.*", row(done.stdout, "unknown"))
    assert re.fullmatch(r"offline +not installed .*needs no_such_package.*", row(done.stdout, "offline"))
    assert done.returncode == 0
    found = by_name(told(site, "status", "--config", config))
    assert found["unknown"]["status"] is None
    assert re.search("no driver is installed", found["unknown"]["error"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "nobody"], 2, "has no QPU named nobody"),
        (["target", "nobody"], 2, "has no QPU named nobody"),
        (["status", "unknown", "--config", "qrmi_config.json"], 1, "no driver is installed for the type no-such-type"),
        (["target", "misspelt", "--config", "qrmi_config.json"], 1, "has no variable QRMI_ENGINE_SEAD"),
        (["resources", "--config", "nowhere.json"], 2, r"nowhere\.json: it cannot be read"),
        (["resources", "--config", "broken.json"], 2, r"broken\.json: line 1 column 2: not JSON"),
    ],
)
def test_bad_input_is_answered_in_one_line(
    site: Site, config: str, arguments: list[str], code: int, message: str
) -> None:
    site.script("{", "broken.json")
    done = site.qrmi(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(message, done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_a_job_without_its_qpu_is_told_why(site: Site) -> None:
    site.environment["QRMI_PLUGIN_ERROR"] = "the lease was refused"
    done = site.qrmi("resources")
    assert done.returncode == 1
    assert done.stderr == "qrmi: this job has no QPU: the lease was refused\n"


def test_check_finds_what_is_wrong(site: Site, config: str) -> None:
    done = site.qrmi("check", "--config", config)
    assert done.returncode == 1
    assert re.fullmatch(r"mine +tiny-simulator +fine", row(done.stdout, "mine"))
    assert re.fullmatch(r"misspelt +tiny-simulator +wrong .*QRMI_ENGINE_SEAD.*", row(done.stdout, "misspelt"))
    assert re.fullmatch(r"unknown +no-such-type +wrong .*no driver.*", row(done.stdout, "unknown"))


def test_check_is_content_with_what_is_right(site: Site) -> None:
    config = str(site.script(json.dumps({"resources": CONFIGURED["resources"][:1]}), "right.json"))
    done = site.qrmi("check", "--config", config)
    assert done.returncode == 0, done.stdout
    found = told(site, "check", "--config", config)
    assert found["fine"] is True
    assert found["problems"] == []
    assert by_name(found["resources"])["mine"]["fine"] is True


def test_check_lists_built_in_simulators_with_the_same_answer_once(site: Site) -> None:
    text = site.qrmi("check").stdout
    assert re.search(r"^watched and 4 more +watched +fine$", text, re.MULTILINE)
    assert re.search(r"^offline +watched +not installed .*needs no_such_package", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"resources": [}', r"line 1 column 16: not JSON"),
        (
            '{"resources": [{"name": "a b", "type": "t", "environment": {}}]}',
            r"resources\[0\]\.name: 'a b' cannot name",
        ),
    ],
)
def test_check_says_where_the_configuration_is_wrong(site: Site, text: str, message: str) -> None:
    config = site.script(text, "wrong.json")
    done = site.qrmi("check", "--config", config)
    assert done.returncode == 1
    assert re.search(rf"wrong +{re.escape(str(config))}: {message}", done.stdout)
    assert done.stderr == ""
    found = told(site, "check", "--config", str(config))
    assert found["fine"] is False
    assert re.search(message, found["problems"][0])


def test_a_broken_plug_in_is_wrong(site: Site) -> None:
    site.add_plug_in("broken-simulator", "no_such_module:Engine")
    done = site.qrmi("check")
    assert done.returncode == 1
    assert re.search(r"wrong +the driver for broken-simulator cannot be loaded", done.stdout)


def test_a_server_that_is_not_there_is_not_waited_for(site: Site) -> None:
    environment = {"QRMI_IQM_ISA_ENDPOINT": "http://127.0.0.1:9", "QRMI_IQM_ISA_TOKEN": "token-1"}
    resources = {"resources": [{"name": "away", "type": "iqm-server", "environment": environment}]}
    config = str(site.script(json.dumps(resources), "qrmi_config.json"))
    done = site.qrmi("status", "away", "--config", config)
    assert done.returncode == 1
    expected = r"away: http://127\.0\.0\.1:9/.* cannot be reached: .*Check QRMI_IQM_ISA_ENDPOINT of away"
    assert re.search(expected, done.stderr)


def test_a_check_uses_the_credentials(site: Site) -> None:
    """Pasqal's status needs none; its specifications do."""
    with vendor_site("pasqal-cloud") as running:
        wrong = {**running.environment, "QRMI_PASQAL_CLOUD_CLIENT_SECRET": "not this one"}
        entries = [("good", running.environment), ("wrong", wrong)]
        resources = [{"name": name, "type": "pasqal-cloud", "environment": block} for name, block in entries]
        config = str(site.script(json.dumps({"resources": resources}), "qrmi_config.json"))
        found = by_name(json.loads(site.qrmi("check", "--config", config, "--json").stdout)["resources"])
    assert found["good"]["fine"]
    assert not found["wrong"]["fine"]
    assert "QRMI_PASQAL_CLOUD_CLIENT_SECRET" in found["wrong"]["error"]
