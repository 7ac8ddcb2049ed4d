# SPDX-License-Identifier: Apache-2.0
"""The environment contract: what a job's variables say, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrmi_core import JobEnvironmentError, NoQPUError
from qrmi_core.environment import (
    JobEnvironment,
    JobResource,
    child_environment,
    config_file,
    read_job,
    spool_directory,
    write_job,
)

TWO = {"QRMI_JOB_QPU_RESOURCES": "a,b", "QRMI_JOB_QPU_TYPES": "x,y"}


def test_outside_a_job_there_is_none() -> None:
    assert read_job({"PATH": "/bin"}) is None


def test_a_job_names_its_resources_and_their_variables() -> None:
    job = read_job(
        {
            **TWO,
            "a_QRMI_URL": "http://localhost",
            "a_QRMI_JOB_ACQUISITION_TOKEN": "t",
            "b_QRMI_JOB_TIMEOUT_SECONDS": "60",
            "ab_QRMI_URL": "not ours",
            "QRMI_JOB_UID": "1000",
            "QRMI_JOB_ID": "42",
        }
    )
    assert job == JobEnvironment(
        (
            JobResource("a", "x", {"QRMI_URL": "http://localhost"}, "t", None),
            JobResource("b", "y", {}, None, 60),
        ),
        uid=1000,
        job_id="42",
    )


def test_what_is_written_is_read_again() -> None:
    job = JobEnvironment((JobResource("a", "x", {"QRMI_URL": "u"}, "t", 9), JobResource("b", "y")), uid=7, job_id="j")
    assert read_job(write_job(job)) == job


def test_older_plug_ins_write_other_names() -> None:
    legacy = {"SLURM_JOB_QPU_RESOURCES": "a", "SLURM_JOB_QPU_TYPES": "x", "SLURM_JOB_ID": "5", "SLURM_JOB_UID": "3"}
    job = read_job(legacy)
    assert job == JobEnvironment((JobResource("a", "x"),), uid=3, job_id="5")
    newer = read_job({**legacy, **TWO})
    assert newer is not None
    assert [resource.name for resource in newer.resources] == ["a", "b"]


def test_another_delimiter_can_be_set() -> None:
    job = read_job({"QRMI_JOB_QPU_RESOURCES": "a:b", "QRMI_JOB_QPU_TYPES": "x:y", "QRMI_LIST_DELIMITER": ":"})
    assert job is not None
    assert [(resource.name, resource.type) for resource in job.resources] == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"QRMI_JOB_QPU_RESOURCES": "", "QRMI_JOB_QPU_TYPES": ""},
            "QRMI_JOB_QPU_RESOURCES is empty: this job was given no",
        ),
        ({"QRMI_JOB_QPU_TYPES": "x"}, "QRMI_JOB_QPU_RESOURCES is unset: this job was given no QPU; ask for one"),
        ({"SLURM_JOB_QPU_RESOURCES": ""}, "SLURM_JOB_QPU_RESOURCES is empty"),
        ({**TWO, "QRMI_JOB_QPU_TYPES": "x"}, r"RESOURCES has 2 names \(a,b\) and QRMI_JOB_QPU_TYPES has 1 types \(x\)"),
        ({"QRMI_JOB_QPU_RESOURCES": "a"}, "has 1 names .* has 0 types"),
        ({**TWO, "QRMI_LIST_DELIMITER": ""}, "QRMI_LIST_DELIMITER is empty: unset it"),
        ({**TWO, "QRMI_JOB_QPU_RESOURCES": "a,b-c"}, "'b-c' cannot be the name of a QPU: a name begins with a letter"),
        ({**TWO, "QRMI_JOB_QPU_RESOURCES": "a,"}, "'' cannot be the name of a QPU"),
        ({**TWO, "QRMI_JOB_QPU_RESOURCES": f"a,{'b' * 41}"}, "at most 40 characters"),
        ({**TWO, "QRMI_JOB_QPU_RESOURCES": "fez,FEZ"}, "fez and FEZ are the same name, case ignored"),
        ({**TWO, "QRMI_JOB_UID": "root"}, "QRMI_JOB_UID is 'root': a whole number was expected"),
        ({**TWO, "a_QRMI_JOB_TIMEOUT_SECONDS": "1h"}, "a_QRMI_JOB_TIMEOUT_SECONDS is '1h': a whole number"),
    ],
)
def test_contradictions_are_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(JobEnvironmentError, match=message):
        read_job(environ)


def test_the_plug_in_says_why_there_is_no_qpu() -> None:
    with pytest.raises(NoQPUError, match="this job has no QPU: ibm_fez is in maintenance") as error:
        read_job({**TWO, "QRMI_PLUGIN_ERROR": "ibm_fez is in maintenance"})
    assert error.value.reason == "ibm_fez is in maintenance"


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(JobResource("a", "x", {"QRMI_KEY": "hush"}, "hush"))


def test_a_child_inherits_nothing_of_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    stale = {**TWO, "a_QRMI_KEY": "old", "QRMI_PLUGIN_ERROR": "old", "SLURM_JOB_QPU_TYPES": "x", "SLURM_JOB_ID": "8"}
    for name, value in stale.items():
        monkeypatch.setenv(name, value)
    environ = child_environment(write_job(JobEnvironment((JobResource("c", "z", {"QRMI_KEY": "new"}),))))
    assert read_job(environ) == JobEnvironment((JobResource("c", "z", {"QRMI_KEY": "new"}),), job_id="8")
    assert "a_QRMI_KEY" not in environ
    assert child_environment()["a_QRMI_KEY"] == "old"


def test_the_configuration_file_is_the_option_then_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRMI_CONFIG", "/from/variable.json")
    assert config_file(Path("/from/option.json")) == Path("/from/option.json")
    assert config_file() == Path("/from/variable.json")


def test_the_spool_follows_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert spool_directory() == Path("/somewhere/qrmi")
    monkeypatch.setenv("HOME", "/home/of")
    for useless in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", useless)
        assert spool_directory() == Path("/home/of/.local/state/qrmi")
