# SPDX-License-Identifier: Apache-2.0
"""IBM's own client, unmodified, in a job whose QPU is behind the gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from doored import doored
from ibm_site import cloud, entry
from munge_daemon import Munged
from vendor_site import Site

HERE = Path(__file__).parent
PROGRAM = HERE / "programs" / "ibm_program.py"
TUTORIAL = HERE.parents[3] / "examples" / "ibm_tutorial.py"
DEAD = "http://127.0.0.1:9"
ELSEWHERE = "127.0.0.2"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with cloud() as running:
        yield running


@pytest.fixture(scope="module")
def over_tls(site: Site, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a program got over TLS with the site's own authority, at another address, with a proxy that is dead."""
    directory = tmp_path_factory.mktemp("gateway")
    authority = trustme.CA()
    certificate = authority.issue_cert(ELSEWHERE)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    tls = {"cert": str(directory / "cert.pem"), "key": str(directory / "key.pem")}
    with doored(
        directory, daemons.socket, [entry("Fez", site)], host=ELSEWHERE, ca=directory / "ca.pem", tls=tls
    ) as gateway:
        job = gateway.granted("Fez", seconds=3600.0)
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD)
        done = job.run(PROGRAM, directory, timeout=280, **proxies)
        gateway.release(job)
    return told(done)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_counts_and_expectation_values(over_tls: Any) -> None:
    right = {"101": 70}
    assert over_tls["names"] == ["aer_ideal", "aer_ideal", "Fez"]
    assert over_tls["by own name"] == right
    assert [over_tls[way] for way in ("sampler", "again", "session", "newer sampler")] == [right] * 4
    assert over_tls["batch"] == [right] * 2
    assert over_tls["executor"] == ["101"]
    assert over_tls["estimator"] == pytest.approx(1.0)


def test_jobs_are_found_again(over_tls: Any) -> None:
    assert (over_tls["tags"], over_tls["by tag"], over_tls["new tags"]) == (["of the test"], True, ["another"])
    assert (over_tls["jobs"], over_tls["jobs left"]) == (8, 7)
    assert over_tls["cancel"]
    assert over_tls["metrics"]
    assert over_tls["usage"] > 0
    assert isinstance(over_tls["logs"], str)
    assert over_tls["instance usage"] is False


def test_sessions_last_no_longer_than_the_job(over_tls: Any, site: Site) -> None:
    assert 3000 < over_tls["max_time"] <= 3660
    assert (over_tls["session after"], over_tls["session again"]) == ("Closed", True)
    assert "Session not found: 0123456789abcdef" in over_tls["no session"]
    assert {each.state for each in site.emulator.dialect._sessions.values()} == {"closed"}


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is(site: Site, daemons: Munged, tmp_path: Path) -> None:
    with doored(tmp_path, daemons.socket, [entry("Fez", site)]) as gateway:
        done = gateway.granted("Fez").run(TUTORIAL, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "the sampler's job again: DONE True\njobs of this run: 2" in done.stdout
    assert "aer_ideal, 30 qubits" in done.stdout


def test_a_users_own_key_goes_no_further(site: Site, daemons: Munged, tmp_path: Path) -> None:
    program = """
from qiskit_ibm_runtime import QiskitRuntimeService
try:
    QiskitRuntimeService(channel="ibm_quantum_platform", token="my-very-own-key", instance="crn:v1:mine:a:b:c:d::")
except Exception as error:
    print(type(error).__name__)
"""
    with doored(tmp_path, daemons.socket, [entry("Fez", site)]) as gateway:
        done = gateway.granted("Fez").run(program, tmp_path)
    assert done.stdout.strip() in {"InvalidAccountError", "IBMInputValueError", "IBMNotAuthorizedError"}, done.stderr
    files = [each for each in tmp_path.rglob("*") if each.is_file() and b"my-very-own-key" in each.read_bytes()]
    assert files == []
