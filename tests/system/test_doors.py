# SPDX-License-Identifier: Apache-2.0
"""Vendors' own programs, unchanged, in jobs that have no credential: real Slurm, the gateway, and vendors' servers."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Collection, Iterator

import pytest
from full_site import PROGRAMS, ROOT, FullSite, full_site
from qpu_site import HOME

from qrmi_core import polling

IBM, PASQAL = "ibm_tutorial.py", "pasqal_tutorial.py"


@pytest.fixture(scope="module")
def site() -> Iterator[FullSite]:
    keys = {"orion": {"access": "gateway", "device": "FRESNEL"}}
    with full_site(doors=HOME, keys=keys, options={"SlurmctldDebug": "debug3", "SlurmdDebug": "debug3"}) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("qpu", "program", "said"),
    [
        ("ibm_fez", IBM, "the sampler's job again: DONE True"),
        pytest.param("ibm_kobe", IBM, "the sampler's job again: DONE True", marks=pytest.mark.slow),
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


def held(site: FullSite, wanted: Collection[bytes]) -> set[str]:
    """The files of the whole site, of its users and its daemons, that hold one of these values."""
    found = set()
    for file in site.cluster.places.directory.rglob("*"):
        try:
            content = file.read_bytes() if file.is_file() else b""
        except FileNotFoundError:  # of a job that ends meanwhile
            continue
        if any(value in content for value in wanted):
            found.add(file.name)
    return found


@pytest.mark.timeout(300)
def test_no_credential_is_in_the_job_or_beside_it(site: FullSite) -> None:
    """Neither while the job runs nor afterwards, of what all of the site has on its disks and in the job's memory."""
    jobs, work = site.jobs(), site.work / "searched"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    plain = {value.encode() for value in site.credentials()}
    assert len(plain) >= 4
    hidden = plain | {base64.b64encode(value) for value in plain}
    script = f"""
env
cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'
ulimit -c unlimited
python {PROGRAMS}/leaves_a_core.py
touch searched.now
while [ ! -e go.on ]; do sleep 0.2; done
"""
    job = jobs.submit("--qpu=ibm_fez,ibm_kobe,FRESNEL", "-D", str(work), script=script)
    assert polling.wait_until((work / "searched.now").exists, timeout=200), jobs.output(job)
    output = jobs.output(job)
    assert "['ibm_fez', 'ibm_kobe', 'FRESNEL'] True" in output
    (how,) = re.findall(r"a core by (.*)", output)
    logging.getLogger(__name__).warning("the core was dumped by %s", how)
    (core,) = work.glob("core*")
    token = next(line.partition("=")[2] for line in output.splitlines() if line.startswith("QISKIT_IBM_TOKEN="))
    assert token.encode() in core.read_bytes(), "the core is not of the job's memory"
    assert held(site, plain) == {site.running.site.qrmi_config.name}, "the search does not find what is there"
    assert held(site, hidden) == {site.running.site.qrmi_config.name}
    core.unlink()
    (work / "go.on").touch()
    jobs.completed(job)
    site.nothing_is_left()
    assert held(site, hidden) == {site.running.site.qrmi_config.name}
    assert site.running.site.qrmi_config.stat().st_mode & 0o077 == 0
    places, state = site.cluster.places, site.running.site.state_dir
    for file in (each for directory in (places.log, state) for each in directory.rglob("*") if each.is_file()):
        assert token.encode() not in file.read_bytes(), file
    logs = {"slurmctld.log", "slurmd-n1.log", "gateway.log", "helper.log"}
    assert logs <= {each.name for each in places.log.iterdir()}
    assert [each for each in state.iterdir() if each.name.endswith("-wal")]
