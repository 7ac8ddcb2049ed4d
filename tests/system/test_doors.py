# SPDX-License-Identifier: Apache-2.0
"""Vendors' own programs, unchanged, in jobs that have no credential: real Slurm, the gateway, and vendors' servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from full_site import ROOT, FullSite, full_site
from qpu_site import HOME

IBM, PASQAL = "ibm_tutorial.py", "pasqal_tutorial.py"


@pytest.fixture(scope="module")
def site() -> Iterator[FullSite]:
    with full_site(doors=HOME, keys={"orion": {"access": "gateway", "device": "FRESNEL"}}) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("qpu", "program", "said"),
    [
        ("ibm_fez", IBM, "the sampler's job again: DONE True"),
        ("ibm_kobe", IBM, "the sampler's job again: DONE True"),
        ("FRESNEL", PASQAL, "occupation of the emulated atoms"),
    ],
)
def test_an_unchanged_program_runs(site: FullSite, qpu: str, program: str, said: str) -> None:
    jobs = site.jobs()
    script = f"export QRMI_PASQAL_HOOK=1\nsrun python examples/{program}"
    (output,) = jobs.completed(jobs.submit(f"--qpu={qpu}", "-D", str(site.work), script=script), timeout=200)
    assert said in output
    site.nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_unchanged_program_runs_on_a_warden_as_far_as_that_can_do_it(site: FullSite) -> None:
    jobs = site.jobs()
    script = f"export QRMI_PASQAL_HOOK=1\nsrun python examples/{PASQAL}"
    job = jobs.submit("--qpu=orion", "-D", str(site.work), script=script)
    assert jobs.ended(job, timeout=200)["JobState"] == "FAILED"
    output = jobs.output(job)
    assert "amplitude 6.0 rad/us: {" in output
    assert "emulator" in output.rpartition("amplitude 6.0")[2]
    site.nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("qpu", ["ibm_fez", "ibm_kobe", "FRESNEL", "orion"])
def test_our_own_programs_run_with_the_jobs_token(site: FullSite, qpu: str) -> None:
    example = "qiskit_bell" if qpu.startswith("ibm") else "pulser_ring"
    jobs = site.jobs()
    script = f"python {ROOT}/examples/{example}.py"
    jobs.completed(jobs.submit(f"--qpu={qpu}", "-D", str(site.work), script=script), timeout=150)
    site.nothing_is_left()


CORE = """
import re
from qrmi_core import QRMIService
resource = QRMIService().resource("ibm_fez")
print(resource.target() is not None, [each.name for each in QRMIService().resources()])
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory, open("core.of.the.job", "wb") as core:
    for line in maps:
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if "rw" in line.split()[1] and end - start < 2**28:
            memory.seek(start)
            core.write(memory.read(end - start))
"""


@pytest.mark.timeout(300)
def test_no_credential_is_in_the_job_or_beside_it(site: FullSite) -> None:
    jobs, work = site.jobs(), site.work / "searched"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    program = work / "core.py"
    program.write_text(CORE)
    script = f"env\ncat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'\ncd {work}\npython {program}"
    planted = site.credentials()
    assert len(planted) >= 4, planted
    qpus = "ibm_fez,ibm_kobe,FRESNEL"
    (output,) = jobs.completed(jobs.submit(f"--qpu={qpus}", "-D", str(work), script=script), timeout=200)
    assert "True ['ibm_fez', 'ibm_kobe', 'FRESNEL']" in output
    places = site.cluster.places
    token = next(line.partition("=")[2] for line in output.splitlines() if line.startswith("QISKIT_IBM_TOKEN="))
    hidden, searched = [each.encode() for each in planted], 0
    states = [node.state for node in site.cluster.nodes]
    for directory in (places.log, places.run, places.controller, site.work, site.running.site.state_dir, *states):
        for file in (each for each in directory.rglob("*") if each.is_file()):
            content, searched = file.read_bytes(), searched + 1
            assert not any(each in content for each in hidden), file
            if directory in (places.log, site.running.site.state_dir):
                assert token.encode() not in content, file
    assert searched > 10
    assert (work / "core.of.the.job").stat().st_size > 2**20
