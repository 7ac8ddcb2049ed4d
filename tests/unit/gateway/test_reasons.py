# SPDX-License-Identifier: Apache-2.0
"""The files from which job_submit.lua tells why a QPU is out of service."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qrmi_core.gateway.root_helper.reasons import ReasonFiles


def files_in(directory: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in directory.iterdir()}


def test_a_reason_stands_beside_slurm_conf_until_it_is_removed(tmp_path: Path) -> None:
    reasons = ReasonFiles(str(tmp_path / "slurm.conf"))
    reasons.write("IBM_Fez", "the cold head is serviced")
    reasons.write("IBM_Fez", "new laser")
    assert files_in(tmp_path) == {"qrmi_reason_ibm_fez": "new laser\n"}
    assert (tmp_path / "qrmi_reason_ibm_fez").stat().st_mode & 0o777 == 0o644
    reasons.remove("IBM_Fez")
    reasons.remove("IBM_Fez")
    assert files_in(tmp_path) == {}


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "qrmi_reason_fez").symlink_to(victim)
    ReasonFiles(str(tmp_path / "etc" / "slurm.conf")).write("fez", "new laser")
    assert victim.read_text() == "mine"
    assert files_in(tmp_path / "etc") == {"qrmi_reason_fez": "new laser\n"}


def test_a_directory_that_is_not_there_hinders_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reasons = ReasonFiles(str(tmp_path / "nowhere" / "slurm.conf"))
    with caplog.at_level(logging.WARNING):
        reasons.write("fez", "new laser")
        reasons.remove("fez")
    assert "sbatch does not tell why" in caplog.text
