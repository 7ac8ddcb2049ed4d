# SPDX-License-Identifier: Apache-2.0
"""What `qrmi slurm configure` writes is what Slurm, lua and our own parts read."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core.errors import ConfigurationError, InputError
from qrmi_core.names import licence
from qrmi_core.slurm.configure import QPU, Site, files, lua_string, qpus

QPUS = [QPU("ibm_fez", "ibm-quantum-compute-service", 2, 'a "fast" one'), QPU("Fresnel", "pasqal-cloud", 1)]
SITE = Site("https://head:7811", ca="/etc/qrmi/ca.pem", patience=40)


def lines(text: str) -> dict[str, str]:
    """The settings of a file for slurm.conf, comments left out."""
    kept = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in kept)


def test_slurm_is_told_of_every_lane() -> None:
    told = lines(files(QPUS, SITE)["qrmi_slurm.conf"])
    assert told["Licenses"] == "qpu_ibm_fez:2,qpu_fresnel:1"
    assert told["JobSubmitPlugins"] == "lua"
    assert told["SchedulerParameters"] == "bf_licenses"
    assert told["PrologFlags"] == "Alloc"
    assert told["LaunchParameters"] == "use_interactive_step"
    assert told["Prolog"] == "/usr/lib/qrmi/qrmi-prolog"
    assert told["EpilogSlurmctld"] == "/usr/lib/qrmi/qrmi-epilogslurmctld"


def test_a_site_with_warden_takes_no_bare_credentials_for_slurms_own() -> None:
    assert "CommunicationParameters" not in lines(files(QPUS, SITE)["qrmi_slurm.conf"])
    with_warden = [*QPUS, QPU("ruby", "pasqal-local", 1)]
    assert lines(files(with_warden, SITE)["qrmi_slurm.conf"])["CommunicationParameters"] == "block_null_hash"


@pytest.mark.parametrize("patience", [5, 25, 300])
def test_a_prolog_that_waits_is_never_killed_nor_its_job_given_up(patience: int) -> None:
    told = lines(files(QPUS, Site("http://head:7811", patience=patience))["qrmi_slurm.conf"])
    assert patience < int(told["PrologEpilogTimeout"]) < int(told["BatchStartTimeout"])


def test_limits_are_examples_only() -> None:
    text = files(QPUS, SITE)["qrmi_sacctmgr.sh"]
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    assert "\n#sacctmgr add qos qpu\n" in text
    assert "MaxTRESPerJob=license/qpu_ibm_fez=0,license/qpu_fresnel=0 Flags+=DenyOnLimit\n" in text
    assert "\n#TRESBillingWeights=CPU=1.0,License/qpu_ibm_fez=100.0,License/qpu_fresnel=100.0\n" in text


def test_time_on_qpus_is_recorded_where_there_is_slurmdbd_only() -> None:
    line = "AccountingStorageTRES=license/qpu_ibm_fez,license/qpu_fresnel"
    without = files(QPUS, SITE)["qrmi_slurm.conf"]
    assert f"\n#{line}\n" in without
    assert "Accounting" not in "".join(lines(without))
    told = lines(files(QPUS, replace(SITE, slurmdbd=True))["qrmi_slurm.conf"])
    assert told["AccountingStorageTRES"] == line.partition("=")[2]


def test_nodes_and_users_are_told_where_the_gateway_is() -> None:
    written = files(QPUS, SITE)
    node, client = json.loads(written["node.json"]), json.loads(written["client.json"])
    assert (node["gateway"], node["ca"], node["patience"]) == ("https://head:7811", "/etc/qrmi/ca.pem", 40)
    assert (client["url"], client["ca"]) == ("https://head:7811", "/etc/qrmi/ca.pem")
    assert client["resources"][0] == {
        "name": "ibm_fez", "type": "ibm-quantum-compute-service", "lanes": 2, "description": "a \"fast\" one",
    }  # fmt: skip


def test_no_secret_leaves_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "qrmi_config.json"
    block = {"QRMI_IBM_QCS_ENDPOINT": "https://example.org", "QRMI_IBM_QCS_IAM_APIKEY": "the-secret"}
    resource = {"name": "ibm_fez", "type": "ibm-quantum-compute-service", "environment": block, "lanes": 3}
    config.write_text(json.dumps({"resources": [resource]}))
    written = "".join(files(qpus(config), SITE).values())
    assert "the-secret" not in written
    assert "example.org" not in written
    assert "qpu_ibm_fez:3" in written


def test_a_pool_is_asked_for_like_a_qpu(tmp_path: Path) -> None:
    config = tmp_path / "qrmi_config.json"
    members = [{"name": name, "type": "t", "environment": {}, "lanes": 2} for name in ("a", "b")]
    pool = {"name": "either", "members": ["a", "b"], "description": "whichever is free"}
    config.write_text(json.dumps({"resources": members, "pools": [pool]}))
    assert qpus(config)[2] == QPU("either", "t", 4, "whichever is free")
    assert "Licenses=qpu_a:2,qpu_b:2,qpu_either:4\n" in files(qpus(config), SITE)["qrmi_slurm.conf"]


def test_a_mistake_in_the_configuration_is_said_with_its_place(tmp_path: Path) -> None:
    config = tmp_path / "qrmi_config.json"
    config.write_text('{"resources": [{"name": "a", "type": "t", "environment": {}, "lanes": 0}]}')
    with pytest.raises(ConfigurationError, match=r"qrmi_config.json: resources\[0\].lanes"):
        qpus(config)
    with pytest.raises(InputError, match="has no QPU"):
        files([], SITE)


@pytest.mark.parametrize(
    "gateway",
    [
        "head:7811",
        "http://",
        "ftp://head",
        "unix:",
        "/run/x",
        "unix:run/x",
        "unix://run/x",
        "unix:/",
        "https://me@head",
        "https://head?a=1",
        "https://head/below",
        "https://head:port",
        "https://[::1",
    ],
)
def test_an_address_that_no_gateway_can_have_is_refused(gateway: str) -> None:
    with pytest.raises(InputError, match="http://HOST:PORT, https://HOST:PORT or unix:/PATH was expected"):
        Site(gateway)


@pytest.mark.parametrize("directory", ["/tmp/a b", "relative", "/a\nProlog=/evil", "/a=b"])
def test_directories_cannot_break_the_lines_of_slurms_files(directory: str) -> None:
    with pytest.raises(InputError, match="absolute path without blanks"):
        Site("http://head:7811", library=directory)


def test_licences_ignore_case_as_names_do() -> None:
    assert licence("Fresnel") == "qpu_fresnel"


def lua(program: str) -> bytes:
    """What a lua program returns, in the lua that Slurm brings with it."""
    try:
        library = ctypes.CDLL("liblua5.1.so.0")
    except OSError:
        pytest.skip("Slurm's lua is not installed here")
    library.luaL_newstate.restype = state = ctypes.c_void_p
    library.lua_tolstring.argtypes = [state, ctypes.c_int, ctypes.POINTER(ctypes.c_size_t)]
    library.lua_tolstring.restype = ctypes.c_void_p
    library.luaL_loadstring.argtypes = [state, ctypes.c_char_p]
    library.lua_pcall.argtypes = [state, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.luaL_openlibs.argtypes = library.lua_close.argtypes = [state]
    machine = library.luaL_newstate()
    library.luaL_openlibs(machine)
    length = ctypes.c_size_t()
    failed = library.luaL_loadstring(machine, program.encode()) or library.lua_pcall(machine, 0, 1, 0)
    text = ctypes.string_at(library.lua_tolstring(machine, -1, ctypes.byref(length)), length.value)
    library.lua_close(machine)
    assert not failed, text
    return text


def test_lua_reads_the_table() -> None:
    table = files(QPUS, SITE)["qrmi_qpus.lua"].replace("return ", "local t = ", 1)
    program = (
        "local s = '' for k, q in pairs(t.qpus) do s = s .. k .. ' ' .. q.name .. ' ' .. q.lanes .. '\\n' end return s"
    )
    assert sorted(lua(f"{table}\n{program}").decode().splitlines()) == ["fresnel Fresnel 1", "ibm_fez ibm_fez 2"]


@given(st.text())
def test_no_text_ends_its_literal(text: str) -> None:
    literal = lua_string(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert '"' not in literal[1:-1].replace("\\034", "")


def test_lua_reads_every_byte_as_it_was() -> None:
    text = "".join(map(chr, range(256))) + '"]] .. os.exit(1) .. [[\\'
    assert lua(f"return {lua_string(text)}") == text.encode()
