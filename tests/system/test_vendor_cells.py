# SPDX-License-Identifier: Apache-2.0
"""Vendors' own clients, unmodified, on every kind of QPU, in jobs of an ordinary user of real Slurm.

Jobs reach the gateway over TLS, at an address of its own, with a certificate of the site's own authority; the user's
environment names a proxy that is dead. One job for each kind of QPU runs a program that tries all that the vendor's
client can do; each thing is a test of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cluster import by_root
from full_site import ROOT, FullJobs, FullSite, full_site

import unmodified_cells as cells  # isort: skip  full_site makes these importable
from learning_device import LearningDevice  # isort: skip
from unmodified_run import PROGRAMS  # isort: skip

from qrmi_core import JobContext
from qrmi_core.environment import TRUSTED
from qrmi_core.slurm.ca_bundle import ca_bundle
from qrmi_core.slurm.site import GATEWAY_USER, make_gateway_user
from qrmi_qiskit.aer.engine import AerSimulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ADDRESS = "127.0.0.9"
DEAD = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD)
FEZ = {"QRMI_AER_SNAPSHOT": "fez"}
SECONDS = 600.0


@dataclass(frozen=True)
class Column:
    """A kind of QPU: what a job asks for, the command that runs in it, and what it must get."""

    qpu: str
    command: str
    checks: cells.Checks


IBM, PASQAL = f"python {PROGRAMS / 'ibm_unmodified.py'}", f"python {PROGRAMS / 'pasqal_unmodified.py'}"
COLUMNS = {
    "IBM Compute": Column("ibm_fez", f"{IBM} ibm_fez", cells.IBM_COMPUTE),
    "IBM System": Column("ibm_kobe", f"{IBM} ibm_kobe", cells.IBM_SYSTEM),
    "aer": Column("aer_fez,aer_ideal", f"qrmi run -- {IBM} ibm_fez", cells.AER),
    "Pasqal cloud": Column("FRESNEL", PASQAL, cells.PASQAL_CLOUD),
    "Warden": Column("orion", PASQAL, cells.WARDEN),
    "pulser engine": Column("pulser_analog", f"qrmi run -- {PASQAL}", cells.PULSER),
}
CELLS = [(column, row) for column, about in COLUMNS.items() for row in about.checks]


class Told:
    """What the programs of all columns told, each of whose jobs is waited for when it is first asked for."""

    def __init__(self, jobs: FullJobs) -> None:
        self._jobs = jobs
        self._submitted = {name: self._submit(column) for name, column in COLUMNS.items()}
        self._told: dict[str, Any] = {}

    def _submit(self, column: Column) -> int:
        script = f"env >&2\nexport QRMI_PASQAL_HOOK=1\nsrun {column.command}"
        errors = ("-e", f"{self._jobs.work}/%j.err")
        return self._jobs.submit(f"--qpu={column.qpu}", *errors, script=script, **PROXIES, NO_PROXY="localhost")

    def errors(self, column: str) -> str:
        """What a job said beside: its environment, and errors."""
        return (self._jobs.work / f"{self._submitted[column]}.err").read_text()

    def of(self, column: str) -> Any:
        """What a column's program told."""
        if column not in self._told:
            job = self._submitted[column]
            ended = self._jobs.ended(job, timeout=SECONDS)["JobState"]
            assert ended == "COMPLETED", f"{ended}: {self.errors(column)[-6000:]}"
            self._told[column] = json.loads(self._jobs.output(job).splitlines()[-1])
        return self._told[column]


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Keys of gateway.json: where jobs reach it, its certificate, and the authority's in a file for everybody."""
    directory = Path(f"/tmp/qrmi-tls-{os.getpid()}")
    directory.mkdir(mode=0o755)
    authority, names = trustme.CA(), ("ca", "cert", "key")
    certificate = authority.issue_cert(ADDRESS)
    files = {name: directory / f"{name}.pem" for name in names}
    authority.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    files["key"].chmod(0o600)
    if by_root():
        make_gateway_user()
        shutil.chown(files["key"], GATEWAY_USER)
    bundle = ca_bundle(files["ca"])
    assert bundle is not None
    files["ca"].write_text(bundle)
    yield {"ca": str(files["ca"]), "tls": {"cert": str(files["cert"]), "key": str(files["key"])}}
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def site(encrypted: dict[str, Any]) -> Iterator[FullSite]:
    engines = {
        "ibm_fez": LearningDevice.from_environment("ibm_fez", FEZ, JobContext()),
        "ibm_kobe": AerSimulator.from_environment("ibm_kobe", FEZ, JobContext()),
    }
    keys = {"orion": {"access": "gateway", "device": "FRESNEL"}}
    with (
        pytest.MonkeyPatch.context() as patch,
        full_site(doors=ADDRESS, keys=keys, engines=engines, gateway=encrypted) as running,
    ):
        for name in TRUSTED:  # what a user has set himself counts before the site's
            patch.delenv(name, raising=False)
        yield running


@pytest.fixture(scope="module")
def told(site: FullSite) -> Told:
    return Told(site.jobs())


@pytest.mark.parametrize(("column", "row"), CELLS)
def test_a_program_runs_or_is_told_why_not(told: Told, column: str, row: str) -> None:
    COLUMNS[column].checks[row](told.of(column))


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in {"aer", "pulser engine"}])
def test_jobs_come_over_tls_to_the_vendor_and_have_no_credential(site: FullSite, told: Told, column: str) -> None:
    told.of(column)
    assert site.runs(COLUMNS[column].qpu) >= 5
    environment = dict(line.split("=", 1) for line in told.errors(column).splitlines() if "=" in line)
    ways = [environment[name] for name in ("QISKIT_IBM_URL", "QRMI_PASQAL_URL") if name in environment]
    assert len(ways) == 1
    assert ways[0].startswith(f"https://{ADDRESS}:")
    assert environment["https_proxy"] == environment["HTTP_PROXY"] == DEAD
    assert not set(environment.values()) & site.credentials().keys()


def test_two_keyword_arguments_do_what_the_hook_does(site: FullSite) -> None:
    """The example of the documentation as it is there."""
    page = (ROOT / "docs" / "your-vendors-program.md").read_text()
    (example,) = re.findall(r"```python\n([^`]*token_provider=JobToken.*?)```", page, re.DOTALL)
    program = site.work / "two_arguments.py"
    program.write_text(example)
    jobs = site.jobs()
    script = f"srun python {program}"
    (output,) = jobs.completed(jobs.submit("--qpu=FRESNEL", script=script, **PROXIES), timeout=SECONDS)
    assert "FRESNEL" in output


def test_nothing_is_left(site: FullSite, told: Told) -> None:
    for column in COLUMNS:
        told.of(column)
    site.nothing_is_left()
