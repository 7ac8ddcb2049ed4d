# SPDX-License-Identifier: Apache-2.0
"""`make cluster`: everything on one machine, started by one process, used by others and ended by another one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import why_not
from qpu_site import ROOT

from qrmi_core.config import load
from qrmi_core.discovery import driver
from qrmi_core.slurm.site import COMMAND
from qrmi_core.slurm.trial import EMULATED, SIMULATED, TrialSite

BELL = ROOT / "examples" / "qiskit_bell.py"
PASQALS_OWN = ROOT / "examples" / "pasqal_tutorial.py"


@pytest.fixture
def directory() -> Iterator[Path]:
    if reason := why_not():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="qrmi-trial-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    TrialSite(directory).stop()
    shutil.rmtree(directory, ignore_errors=True)


def in_new_process(directory: Path, method: str) -> None:
    program = (
        "import sys; from pathlib import Path; from qrmi_core.slurm.trial import TrialSite; "
        f"TrialSite(Path(sys.argv[1])).{method}()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(directory)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_a_site_for_trying_out_lives_until_it_is_stopped(directory: Path) -> None:
    in_new_process(directory, "start")
    trial = TrialSite(directory)
    assert all(trial.status().values()), trial.status()
    site = trial.start()
    said = site.cluster.run(
        ["srun", "--qpu=ibm_fez", site.python, "-P", str(BELL)], timeout=100, environment=site.environment()
    )
    assert "on ibm_fez, 156 qubits" in said.stdout
    with_hook = site.environment(QRMI_PASQAL_HOOK="1", MPLCONFIGDIR=str(directory))
    own = ["srun", "--qpu=fresnel", site.python, str(PASQALS_OWN)]
    assert "occupation of the emulated atoms" in site.cluster.run(own, timeout=100, environment=with_hook).stdout
    qrmi = [site.python, "-P", "-c", COMMAND]
    simulated = ["srun", f"--qpu={','.join(SIMULATED)}", *qrmi, "resources", "--json"]
    said = site.cluster.run(simulated, timeout=60, environment=site.environment())
    assert [(each["name"], each["problem"]) for each in json.loads(said.stdout)] == [(name, None) for name in SIMULATED]
    in_job = site.cluster.run(["srun", "--qpu=ibm_fez,fresnel", "env"], timeout=60, environment=site.environment())
    for each in load(site.qrmi_config):
        if each.name in {"ibm_fez", "fresnel"}:
            assert f"/r/{each.name}" in in_job.stdout
            secrets = [variable.name for variable in driver(each.type).variables if variable.secret]
            planted = [each.values()[name] for name in secrets if each.values().get(name)]
            assert planted
            assert not [secret for secret in planted if secret in in_job.stdout]
    told = site.client_config.read_text()
    assert all(name in told for name in (*EMULATED, *SIMULATED))
    in_new_process(directory, "stop")
    assert not any(trial.status().values()), trial.status()
