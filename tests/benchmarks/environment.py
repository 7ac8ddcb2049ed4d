# SPDX-License-Identifier: Apache-2.0
"""Environments for the peers and for us, and the variables that point every client at the emulator."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["BUILD", "CRN", "DEVICE", "FRESNEL", "PEERS", "PROJECT", "ROOT", "our_python", "peer_python", "variables"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "peers"
PEERS = ("qrmi[ibm,pasqal]==0.26.4", "qiskit-ibm-runtime==0.51.0", "pasqal-cloud==0.24.0")
INSTALLATION = 1200.0

DEVICE = "ibm_emu"
FRESNEL = "FRESNEL"
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/aaa:bbb::"
PROJECT = "11111111-1111-1111-1111-111111111111"


def peer_python() -> Path:
    """The Python of an environment with the peers and nothing of ours; it is made once, from the package index."""
    return _installed(BUILD / "environment", PEERS, known_by="\n".join(PEERS))


def our_python() -> Path:
    """The Python of an environment with this checkout as jobs on QPUs need it: the extra qiskit-qpu, and no more.

    That of the benchmark has everything, and what is installed beside a program slows it down. It is made from the
    package index, again when pyproject.toml changes.
    """
    declared = (ROOT / "pyproject.toml").read_text()
    return _installed(BUILD / "ours", ("--editable", f"{ROOT}[qiskit-qpu]"), known_by=declared)


def _installed(directory: Path, wanted: tuple[str, ...], *, known_by: str) -> Path:
    python, done = directory / "bin" / "python", directory / "installed"
    BUILD.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != known_by:
            print(f"Installing {' '.join(wanted)} into {directory} (once)", flush=True)
            venv.create(directory, clear=True, with_pip=False)
            command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *wanted]
            subprocess.run(command, check=True, timeout=INSTALLATION)
            done.write_text(known_by)
    return python


def variables(url: str, *, home: Path) -> dict[str, str]:
    """An environment in which every client finds the emulator, and nothing that the caller's environment says."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "QRMI_JOB_QPU_RESOURCES": f"{DEVICE},{FRESNEL}",
        "QRMI_JOB_QPU_TYPES": "ibm-quantum-compute-service,pasqal-cloud",
        f"{DEVICE}_QRMI_IBM_QCS_ENDPOINT": f"{url}/api/v1",
        f"{DEVICE}_QRMI_IBM_QCS_IAM_ENDPOINT": url,
        f"{DEVICE}_QRMI_IBM_QCS_IAM_APIKEY": "fakekey",
        f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN": CRN,
        f"{DEVICE}_QRMI_IBM_QCS_SESSION_MODE": "none",
        f"{DEVICE}_QRMI_MIN_POLL": "0",
        f"{FRESNEL}_QRMI_PASQAL_CLOUD_BASE_URL": url,
        f"{FRESNEL}_QRMI_PASQAL_CLOUD_AUTH_ENDPOINT": f"{url}/oauth/token",
        f"{FRESNEL}_QRMI_PASQAL_CLOUD_PROJECT_ID": PROJECT,
        f"{FRESNEL}_QRMI_PASQAL_CLOUD_CLIENT_ID": "cid",
        f"{FRESNEL}_QRMI_PASQAL_CLOUD_CLIENT_SECRET": "sec",
        f"{FRESNEL}_QRMI_MIN_POLL": "0",
        "IAM_URL": url,
        "QISKIT_FUNCTIONS_EXPERIMENTAL": "1",  # keeps qiskit-ibm-runtime from asking IBM's global search
        "USAGE_DATA_OPT_OUT": "True",
        "PYTHONWARNINGS": "ignore",
    }
