# SPDX-License-Identifier: Apache-2.0
"""Each check of `qrmi check --slurm` finds what it is there to find, and says what to do."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmi_core.errors import ConfigurationError, InputError
from qrmi_core.slurm import checks, host_checks
from qrmi_core.slurm.checks import Finding
from qrmi_core.slurm.configure import QPU, Site, files
from qrmi_core.slurm.node_file import load_node_file
from qrmi_core.slurm.plugin import plugin_version, version_text

sys.path.append(str(Path(__file__).parents[2] / "vendors"))

from munge_daemon import Munged, munged

GOOD = {
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": "bf_interval=1,bf_licenses",
    "PrologFlags": "Alloc,Contain",
    "Prolog": "/usr/lib/qrmi/qrmi-prolog",
    "Epilog": "/usr/lib/qrmi/qrmi-epilog",
    "EpilogSlurmctld": "/usr/lib/qrmi/qrmi-epilogslurmctld",
    "PrologEpilogTimeout": "60",
    "BatchStartTimeout": "90 sec",
    "LaunchParameters": "use_interactive_step",
    "JobSubmitPlugins": "lua",
}


def found(config: dict[str, str], patience: int = 25) -> dict[str, Finding]:
    return {finding.check: finding for finding in checks.of_configuration(config, {}, patience=patience)}


def test_a_right_configuration_is_fine() -> None:
    assert {finding.result for finding in found(GOOD).values()} == {"fine"}


def test_what_configure_writes_is_fine() -> None:
    text = files([QPU("a", "t", 1)], Site("http://head:7811", patience=100))["qrmi_slurm.conf"]
    settings = checks.slurm_settings([text])
    written = {key: settings[key.lower()] for key in GOOD if key.lower() in settings}
    assert set(GOOD) - set(written) == {"SchedulerType"}
    assert {finding.result for finding in found(written, 100).values()} == {"fine"}


@pytest.mark.parametrize(
    ("key", "value", "reason", "advice"),
    [
        ("SchedulerParameters", "(null)", "bf_licenses is missing", "add bf_licenses"),
        ("SchedulerParameters", "bf_licenses_x", "bf_licenses is missing", "add bf_licenses"),
        ("PrologFlags", "(null)", "Alloc is missing", "set PrologFlags=Alloc"),
        ("PrologFlags", "NoHold", "Alloc is missing", "set PrologFlags=Alloc"),
        ("Prolog", "(null)", "no QPU would be acquired", "set Prolog=/usr/lib/qrmi/qrmi-prolog"),
        ("EpilogSlurmctld", "(null)", "given back late", "set EpilogSlurmctld=/usr/lib/qrmi/qrmi-epilogslurmctld"),
        ("PrologEpilogTimeout", "34", "is 34 s, and the prolog may wait 25 s", "set PrologEpilogTimeout=35 or more"),
        ("BatchStartTimeout", "10 sec", "taken for lost", "set BatchStartTimeout=45 or more"),
        ("LaunchParameters", "(null)", "salloc's shell runs on the login node", "add use_interactive_step"),
        ("JobSubmitPlugins", "(null)", "--qpu becomes no licence", "add lua to JobSubmitPlugins"),
    ],
)
def test_each_mistake_is_found_and_no_other(key: str, value: str, reason: str, advice: str) -> None:
    findings = found(GOOD | {key: value})
    assert [name for name, finding in findings.items() if finding.result != "fine"] == [key]
    assert findings[key].result == "wrong"
    assert reason in findings[key].reason
    assert advice in findings[key].advice


def test_scripts_that_slurm_numbers_are_found() -> None:
    numbered = {f"{key}[1]" if key in checks.SCRIPTS else key: value for key, value in GOOD.items()}
    others = {f"{key}[0]": "/etc/slurm/site.sh" for key in checks.SCRIPTS}
    assert {finding.result for finding in found(numbered | others).values()} == {"fine"}
    without = {key: value for key, value in GOOD.items() if key not in checks.SCRIPTS}
    assert {name for name, finding in found(without).items() if finding.result == "wrong"} == set(checks.SCRIPTS)


def test_each_of_several_scripts_in_a_file_counts() -> None:
    settings = checks.slurm_settings(["Prolog=/usr/lib/qrmi/qrmi-prolog\nKillWait=3\nprolog=/etc/site.sh\nKillWait=4"])
    assert settings == {"prolog": "/usr/lib/qrmi/qrmi-prolog,/etc/site.sh", "killwait": "4"}


def test_another_scheduler_keeps_no_lanes() -> None:
    finding = found(GOOD | {"SchedulerType": "sched/builtin"})["SchedulerParameters"]
    assert finding.result == "wrong"
    assert "SchedulerType=sched/backfill" in finding.advice


def test_without_a_limit_no_prolog_is_killed() -> None:
    assert found(GOOD | {"PrologEpilogTimeout": "65534"})["PrologEpilogTimeout"].reason == "no limit"


def test_a_sites_own_script_is_not_called_wrong() -> None:
    finding = found(GOOD | {"Prolog": "/etc/slurm/prolog.d/*"})["Prolog"]
    assert finding.result == "not seen"
    assert "must call qrmi-prolog" in finding.reason


def test_where_nodes_have_files_of_their_own_these_count() -> None:
    config = GOOD | {"Prolog": "(null)", "DebugFlags": "NO_CONF_HASH"}
    assert found(config)["Prolog"].result == "not seen"
    local = {"prolog": "/opt/qrmi-prolog"}
    (_, _, on_node, *_) = checks.of_configuration(config, local, on_node=True)
    assert (on_node.check, on_node.result) == ("Prolog", "fine")
    (_, _, lacking, *_) = checks.of_configuration(config, {}, on_node=True)
    assert lacking.result == "wrong"


def test_licences_are_compared_with_lanes() -> None:
    there = {"qpu_fez": (2, 0), "qpu_old": (1, 0), "matlab": (5, 5), "qpu_full": (3, 1)}
    reasons = [
        (finding.reason, finding.advice)
        for finding in checks.licences(there, {"Fez": 2, "full": 1, "short": 1})
        if finding.result == "wrong"
    ]
    assert len(reasons) == 3
    assert "qpu_full is there 3 times, but full has 1 lanes" in reasons[0][0]
    assert "set qpu_full:1" in reasons[0][1]
    assert "qpu_short is missing" in reasons[1][0]
    assert "qpu_old is the licence of no QPU" in reasons[2][0]
    (good,) = checks.licences({"qpu_fez": (2, 0), "matlab": (5, 5)}, {"Fez": 2})
    assert (good.result, good.reason) == ("fine", "1 QPUs, 2 lanes")


def test_slurm_conf_is_read_with_what_it_includes(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("Prolog=/a\ninclude common.conf\n# Epilog=/no\nBatchStartTimeout = 20 # s\n")
    (tmp_path / "common.conf").write_text("PROLOG=/b\nInclude slurm.conf\n")
    settings = checks.slurm_settings(host_checks.read_slurm_conf(tmp_path / "slurm.conf"))
    assert set(settings["prolog"].split(",")) == {"/a", "/b"}
    assert settings["batchstarttimeout"] == "20"
    assert "epilog" not in settings
    assert list(host_checks.read_slurm_conf(tmp_path / "nothing")) == []


def build(directory: Path, version: str | None) -> Path:
    """A SPANK plugin for a version of Slurm; without one a library that is no plugin."""
    source = "int x;" if version is None else f"const unsigned int plugin_version = {version};"
    (directory / "x.c").write_text(source)
    target = directory / "qrmi_spank.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, directory / "x.c"], check=True, timeout=60)
    return target


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")


@needs_gcc
def test_the_version_of_a_plugin_is_read(tmp_path: Path) -> None:
    assert version_text(plugin_version(build(tmp_path, "0x170b02"))) == "23.11.2"
    with pytest.raises(InputError, match="is no plugin of Slurm's: it has no plugin_version"):
        plugin_version(build(tmp_path, None))
    (tmp_path / "cut.so").write_bytes((tmp_path / "qrmi_spank.so").read_bytes()[:700])
    with pytest.raises(InputError, match="is no plugin"):
        plugin_version(tmp_path / "cut.so")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        plugin_version(tmp_path / "gone.so")


@needs_gcc
@pytest.mark.parametrize(
    ("version", "how", "result", "reason"),
    [
        ("own", "optional", "fine", "for Slurm"),
        ("own", "required", "wrong", 'says "required"'),
        ("0x170b00", "optional", "wrong", r"was built for Slurm 23.11.0, and this is \d+\.\d+"),
        (None, "optional", "wrong", "is no plugin of Slurm's"),
    ],
)
def test_a_plugin_for_another_slurm_is_found(
    tmp_path: Path, version: str | None, how: str, result: str, reason: str
) -> None:
    running = host_checks._slurmd_version() or "22.05.8"
    if version == "own":
        major, minor, *_ = (int(part.split("-")[0]) for part in running.split("."))
        version = hex(major << 16 | minor << 8)
    plugstack = tmp_path / "plugstack.conf"
    plugstack.write_text(f"# comment\n{how} {build(tmp_path, version)} state_dir=/run/qrmi\n")
    finding = host_checks.plugin(plugstack, running)
    assert finding.result == result
    assert re.search(reason, finding.reason)


def test_a_plugin_that_nothing_loads_is_found(tmp_path: Path) -> None:
    (tmp_path / "plugstack.conf").write_text("include plugstack.d/*.conf\n")
    (tmp_path / "plugstack.d").mkdir()
    finding = host_checks.plugin(tmp_path / "plugstack.conf", "22.05.8")
    assert "--qpu is an unknown option here" in finding.reason
    (tmp_path / "plugstack.d" / "q.conf").write_text("optional /nowhere/qrmi_spank.so\n")
    assert "/nowhere/qrmi_spank.so: cannot be read" in host_checks.plugin(tmp_path / "plugstack.conf", "22.05.8").reason


HERE = {"SlurmctldHost[0]": f"{socket.gethostname()}(127.0.0.1)"}


def test_lua_files_are_looked_at_where_slurmctld_runs(tmp_path: Path) -> None:
    (elsewhere,) = host_checks.job_submit({"SlurmctldHost[0]": "other(10.0.0.1)"}, tmp_path, {})
    assert elsewhere.result == "not seen"
    (lacking,) = host_checks.job_submit(HERE, tmp_path, {})
    assert "No such file" in lacking.reason
    (tmp_path / "job_submit.lua").write_text("return slurm.SUCCESS")
    (foreign,) = host_checks.job_submit(HERE, tmp_path, {})
    assert "dofile" in (Path(__file__).parents[3] / "slurm" / "job_submit.lua").read_text()
    assert "is the site's own" in foreign.reason


def test_the_table_beside_it_is_compared_with_the_lanes(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[3] / "slurm" / "job_submit.lua", tmp_path)
    _, lacking = host_checks.job_submit(HERE, tmp_path, {"Fez": 2})
    assert "every --qpu is refused" in lacking.reason
    table = files([QPU("Fez", "t", 2), QPU("b", "t", 1)], Site("http://head:7811"))["qrmi_qpus.lua"]
    (tmp_path / "qrmi_qpus.lua").write_text(table)
    _, same = host_checks.job_submit(HERE, tmp_path, {"Fez": 2, "b": 1})
    assert same.result == "fine"
    _, other = host_checks.job_submit(HERE, tmp_path, {"Fez": 3, "b": 1})
    assert (other.result, other.reason.endswith("what the gateway knows: fez differ")) == ("wrong", True)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Munged]:
    with munged() as running:
        yield running


def test_a_nodes_credential_is_compared_with_its_address(daemon: Munged) -> None:
    def finding(nodes: dict[str, str], **further: list[str]) -> Finding:
        return host_checks.credential("n1", nodes, further, daemon.socket)

    other = finding({"n1": "192.0.2.7"}, n2=["192.0.2.1"])
    assert other.result == "wrong"
    assert "slurmctld knows n1 as 192.0.2.7: the gateway refuses its prolog" in other.reason
    address = other.reason.split("come from ")[1].split(",")[0]
    assert f'{{"node_addresses": {{"n1": ["{address}"]}}}}' in other.advice
    for right in (finding({"n1": address}), finding({"n1": "192.0.2.7"}, n1=[address])):
        assert (right.result, right.reason) == ("fine", f"n1 is {address}")
    assert "is no node of Slurm's" in finding({"n2": "192.0.2.7"}).reason
    assert "cannot be resolved" in finding({"n1": "no.such.host.invalid"}).reason


def test_a_host_without_munged_is_told_to_start_it(tmp_path: Path) -> None:
    finding = host_checks.credential(None, {}, [], str(tmp_path / "none"))
    assert (finding.result, "start munged" in finding.advice) == ("wrong", True)


def test_clocks_may_differ_a_little() -> None:
    assert host_checks.clock("clock", 1000.0, 1002.0).result == "fine"
    apart = host_checks.clock("clock", 1000.0, 1045.0)
    assert (apart.result, "differ by 45 s" in apart.reason) == ("wrong", True)


@pytest.mark.parametrize(
    ("value", "user", "result"),
    [
        ("none", None, "fine"),
        ("accounts,usage", "qrmi", "fine"),
        ("jobs", "slurm", "fine"),
        ("jobs,usage", "root", "fine"),
        ("jobs", None, "not seen"),
    ],
)
def test_the_gateways_user_must_see_jobs(value: str, user: str | None, result: str) -> None:
    config = {"PrivateData": value, "SlurmUser": "slurm(64030)"}
    assert host_checks.private_data(config, user).result == result


def test_the_accounting_of_the_slurm_conf_that_is_named_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "sacctmgr"
    command.write_text(f'#!/bin/sh\n[ "$SLURM_CONF" = {tmp_path}/slurm.conf ] && echo Operator || echo None\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = {"PrivateData": "jobs", "SlurmUser": "slurm(64030)"}
    assert host_checks.private_data(config, "qrmi", tmp_path / "slurm.conf").result == "fine"
    assert host_checks.private_data(config, "qrmi").result == "wrong"


def test_node_json_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text(files([QPU("a", "t", 1)], Site("http://head:7811", patience=40))["node.json"])
    assert load_node_file(path).patience == 40
    path.write_text('{"gateway": "http://head:7811", "patient": 3}')
    with pytest.raises(ConfigurationError, match="patient: unknown key; did you mean patience"):
        load_node_file(path)
