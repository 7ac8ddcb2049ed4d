# SPDX-License-Identifier: Apache-2.0
"""Vendors' own programs, unchanged, in jobs that have no credential: real Slurm, the gateway, and vendors' servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from full_site import ROOT, FullSite, full_site

IBM, PASQAL = "ibm_tutorial.py", "pasqal_tutorial.py"


@pytest.fixture(scope="module")
def site() -> Iterator[FullSite]:
    with full_site(doors=True, access={"orion": "gateway"}) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("qpu", "program", "said"),
    [
        ("ibm_fez", IBM, "the sampler's job again: DONE True"),
        ("ibm_kobe", IBM, "the sampler's job again: DONE True"),
        ("FRESNEL", PASQAL, "occupation of the emulated atoms"),
        ("orion", "pasqal_batch.py", "amplitude 6.0"),
    ],
)
def test_an_unchanged_program_runs(site: FullSite, qpu: str, program: str, said: str) -> None:
    jobs = site.jobs()
    script = f"export QRMI_PASQAL_HOOK=1\npython examples/{program}"
    (output,) = jobs.completed(jobs.submit(f"--qpu={qpu}", "-D", str(site.work), script=script), timeout=200)
    assert said in output
    site.nothing_is_left()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("qpu", ["ibm_fez", "ibm_kobe", "FRESNEL", "orion"])
def test_our_own_programs_run_with_the_jobs_token(site: FullSite, qpu: str) -> None:
    example = "qiskit_bell" if qpu.startswith("ibm") else "pulser_ring"
    jobs = site.jobs()
    script = f"python {ROOT}/examples/{example}.py"
    jobs.completed(jobs.submit(f"--qpu={qpu}", "-D", str(site.work), script=script), timeout=150)
    site.nothing_is_left()
