# SPDX-License-Identifier: Apache-2.0
"""`qrmi check --slurm` on a running cluster: all is fine on a right one, and each thing broken is found. Real Slurm."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import make_users, why_not
from qpu_site import QpuSite, start_site

from qrmi_core import polling

RESOURCES = [
    {"name": "aer_ideal", "type": "aer-simulator", "lanes": 3, "environment": {}},
    {"name": "aer_fez", "type": "aer-simulator", "environment": {"QRMI_AER_SNAPSHOT": "fez"}},
]
COMMAND = "import sys; from qrmi_core.cli import main; sys.argv[0] = 'qrmi'; main()"


@pytest.fixture(scope="module")
def running() -> Iterator[QpuSite]:
    if reason := why_not():
        pytest.skip(reason)
    make_users()
    with start_site(RESOURCES, nodes={"patience": 25}) as site:
        yield site


def checked(running: QpuSite, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and each check by its name: of several of one name the first that is wrong."""
    command = [running.site.python, "-P", "-c", COMMAND, "check", "--slurm", "--json", *options]
    done = running.cluster.run(command, timeout=60, check=False, environment=running.site.environment())
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["fine"] is (done.returncode == 0)
    ordered = sorted(told["checks"], key=lambda each: each["result"] == "wrong")
    return done.returncode, {each["check"]: each for each in ordered}


def as_node(running: QpuSite, number: int = 0) -> list[str]:
    node = running.cluster.nodes[number]
    return ["--node", node.name, "--node-config", str(node.config), "--slurm-conf", str(node.slurm_conf)]


def wrongs(found: dict[str, dict[str, str]]) -> list[str]:
    return sorted(name for name, each in found.items() if each["result"] == "wrong")


def jobs_run(running: QpuSite) -> None:
    """Jobs without a QPU are not touched by what is broken."""
    done = running.jobs().run("srun", "true")
    assert done.returncode == 0, done.stderr


def test_a_right_cluster_is_fine_on_its_head_and_on_its_nodes(running: QpuSite) -> None:
    code, on_head = checked(running)
    assert (code, wrongs(on_head)) == (0, []), on_head
    assert on_head["job_submit.lua"]["result"] == "fine"
    for number in range(2):
        code, on_node = checked(running, *as_node(running, number))
        assert (code, wrongs(on_node)) == (0, []), on_node
        assert on_node["Prolog"]["result"] == "fine"
        assert on_node["munge"]["reason"] == f"n{number + 1} is 127.0.0.{number + 2}"


def test_a_node_whose_credentials_come_from_elsewhere_is_found(running: QpuSite) -> None:
    others, own = as_node(running, 1), as_node(running)
    code, found = checked(running, *own[:2], *others[2:])
    assert (code, wrongs(found)) == (1, ["munge"])
    assert "come from 127.0.0.3, but slurmctld knows n1 as 127.0.0.2" in found["munge"]["reason"]


def test_licences_that_are_missing_or_too_many_are_found(running: QpuSite) -> None:
    conf = running.cluster.places.common_conf
    before = conf.read_text()
    conf.write_text(re.sub("(?m)^Licenses=.*$", "Licenses=qpu_aer_ideal:5,qpu_gone:1", before))
    try:
        running.cluster.run(["scontrol", "reconfigure"], timeout=20)
        assert polling.wait_until(lambda: checked(running)[0] == 1, timeout=20)
        _, found = checked(running)
        assert wrongs(found) == ["Licenses"]
        refused = running.jobs().run("srun", "--qpu=aer_fez", "true")
        assert refused.returncode != 0
        jobs_run(running)
    finally:
        conf.write_text(before)
        running.cluster.run(["scontrol", "reconfigure"], timeout=20)
    assert polling.wait_until(lambda: checked(running)[0] == 0, timeout=20)


def test_a_missing_lua_file_and_a_stale_table_are_found(running: QpuSite) -> None:
    etc = running.cluster.places.etc
    lua, table = etc / "job_submit.lua", etc / "qrmi_qpus.lua"
    texts = lua.read_text(), table.read_text()
    try:
        table.write_text(texts[1].replace("lanes = 3", "lanes = 2"))
        _, found = checked(running)
        assert wrongs(found) == ["qrmi_qpus.lua"]
        lua.unlink()
        _, found = checked(running)
        assert "job_submit.lua" in wrongs(found)
        jobs_run(running)
    finally:
        lua.write_text(texts[0])
        table.write_text(texts[1])


def test_a_plugin_for_another_slurm_is_found_and_stops_nobody(running: QpuSite, tmp_path: Path) -> None:
    plugin = running.cluster.places.plugin
    before = plugin.read_bytes()
    source = tmp_path / "old.c"
    source.write_text(
        '#include <slurm/spank.h>\nconst char plugin_name[] = "qrmi", plugin_type[] = "spank";\n'
        "const unsigned int plugin_version = 0x170b00, spank_plugin_version = 1;\n"
    )
    built = tmp_path / "old.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True, timeout=60)
    try:
        _replace(plugin, built.read_bytes())
        _, found = checked(running)
        assert wrongs(found) == ["SPANK plugin"]
        assert "was built for Slurm 23.11.0" in found["SPANK plugin"]["reason"]
        jobs_run(running)
    finally:
        _replace(plugin, before)
    assert checked(running)[0] == 0


def _replace(path: Path, content: bytes) -> None:
    """A new file: what has the old one loaded keeps it."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.replace(path)


def test_a_gateway_that_is_away_is_found(running: QpuSite) -> None:
    running.site.gateway.stop(running.cluster.places.run)
    try:
        _, found = checked(running, *as_node(running))
        assert "gateway" in wrongs(found)
        assert "systemctl start qrmi-gateway" in found["gateway"]["advice"]
    finally:
        running.site.start_gateway()
    assert checked(running)[0] == 0
