# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs of vendors' clients in jobs of real Slurm, where `qrmi run` serves the simulators."""

from __future__ import annotations

import json

import pytest
from full_site import FullSite

import unmodified_cells  # isort: skip  full_site makes it importable
from unmodified_run import PROGRAMS  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("qpus", "program", "features"),
    [
        ("aer_fez,aer_ideal", "ibm_unmodified.py", unmodified_cells.IBM),
        ("pulser_analog", "pasqal_unmodified.py", unmodified_cells.PASQAL),
    ],
)
def test_every_feature_in_a_job(site: FullSite, qpus: str, program: str, features: dict[str, object]) -> None:
    jobs = site.jobs()
    script = f"export QRMI_PASQAL_HOOK=1\nsrun qrmi run -- python {PROGRAMS / program}"
    (said,) = jobs.completed(jobs.submit(f"--qpu={qpus}", script=script), timeout=250)
    got = json.loads(said.splitlines()[-1])
    for check in features.values():
        assert callable(check)
        check(got)
