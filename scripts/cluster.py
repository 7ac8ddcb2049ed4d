# SPDX-License-Identifier: Apache-2.0
"""`make cluster` and `make cluster-stop`: Slurm, the gateway and QPUs in build/cluster, to try all on one machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from qrmi_core.errors import QRMIError
from qrmi_core.slurm.trial import TrialSite

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "cluster"
ELSEWHERE = Path(f"/tmp/qrmi-cluster-{os.geteuid()}")


def directory() -> Path:
    """``build/cluster``, or a place that it points to where users cannot enter the checkout."""
    parents = [PLACE.resolve(), *PLACE.resolve().parents]
    closed = [path for path in parents if path.exists() and not path.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed and not PLACE.is_symlink():
        print(f"Users cannot enter {closed[0]}: the cluster is in {ELSEWHERE}")
        PLACE.parent.mkdir(exist_ok=True)
        PLACE.symlink_to(ELSEWHERE)
    return PLACE.resolve()


def start(trial: TrialSite) -> None:
    """Start it and say how to use it."""
    site = trial.start()
    print(f"It runs: {len(site.cluster.nodes)} nodes, the gateway and its QPUs, in {trial.directory}")
    print("Use it:  . .venv/bin/activate")
    print('         eval "$(qrmi slurm env)"')
    print("         qrmi qpus")
    print("         srun --qpu=ibm_fez python examples/qiskit_bell.py")
    print("Stop it: make cluster-stop")


def status(trial: TrialSite) -> None:
    """Say what runs."""
    for name, pid in trial.status().items():
        print(f"{name:16} {'process ' + str(pid) if pid else 'does not run'}")


def main() -> int:
    """Do what the command line asks for; 1 where it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = {"start": start, "stop": TrialSite.stop, "status": status}
    parser.add_argument("action", choices=actions)
    arguments = parser.parse_args()
    try:
        actions[arguments.action](TrialSite(directory()))
    except QRMIError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
