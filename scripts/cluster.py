# SPDX-License-Identifier: Apache-2.0
"""`make cluster` and `make cluster-stop`: a private Slurm cluster in build/cluster, to try all on one machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from qrmi_core.errors import QRMIError
from qrmi_core.slurm.cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "cluster"
ELSEWHERE = Path(f"/tmp/qrmi-cluster-{os.geteuid()}")
QPUS = {"aer_ideal": 2, "aer_fez": 2, "pulser_analog": 1}


def directory() -> Path:
    """``build/cluster``, or a place that it points to where users cannot enter the checkout."""
    parents = [PLACE.resolve(), *PLACE.resolve().parents]
    closed = [path for path in parents if path.exists() and not path.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed and not PLACE.is_symlink():
        print(f"Users cannot enter {closed[0]}: the cluster is in {ELSEWHERE}")
        PLACE.parent.mkdir(exist_ok=True)
        PLACE.symlink_to(ELSEWHERE)
    return PLACE.resolve()


def start(cluster: Cluster) -> None:
    """Start it and say how to use it."""
    cluster.start()
    print(f"The cluster runs: {len(cluster.nodes)} nodes, in {cluster.places.directory}")
    print('Use it with:  eval "$(qrmi slurm env)"   and then sinfo, sbatch, srun, squeue, qrmi qpus')
    print("Stop it with: make cluster-stop")


def status(cluster: Cluster) -> None:
    """Say what runs."""
    for name, pid in cluster.status().items():
        print(f"{name:16} {'process ' + str(pid) if pid else 'does not run'}")


def main() -> int:
    """Do what the command line asks for; 1 where it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = {"start": start, "stop": Cluster.stop, "status": status}
    parser.add_argument("action", choices=actions)
    arguments = parser.parse_args()
    try:
        actions[arguments.action](Cluster(directory(), qpus=QPUS))
    except QRMIError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
