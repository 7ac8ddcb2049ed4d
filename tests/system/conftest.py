# SPDX-License-Identifier: Apache-2.0
"""Real Slurm: a private cluster for each process that runs tests, on loopback and in a directory under /tmp."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from cluster import USERS, Jobs, by_root, make_users, why_not  # noqa: E402

from qrmi_core.slurm.cluster import Cluster  # noqa: E402

if TYPE_CHECKING:
    from crash_site import CrashSite
    from full_site import FullSite

QPUS = {"ibm_fez": 1, "IQM_star": 2, "aer_fez": 3}
QUICK = {"KillWait": "3", "EpilogMsgTime": "1"}


@pytest.fixture(scope="session")
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """Clusters with the arguments of :class:`Cluster`; all end with the session."""
    if reason := why_not():
        pytest.skip(reason)
    make_users()
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        # pytest's own directories are closed to other users
        directory = Path(tempfile.mkdtemp(prefix="qrmi-slurm-", dir="/tmp"))
        directory.chmod(0o755)
        settings = {"qpus": QPUS, **options}
        settings["options"] = QUICK | settings.get("options", {})
        made.append(Cluster(directory, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()
        shutil.rmtree(cluster.places.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def bare(make_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster without prolog: a job's QPU is what the test writes into its state file."""
    return make_cluster(prolog=False)


@pytest.fixture
def jobs(bare: Cluster) -> Jobs:
    """An ordinary user of it."""
    return Jobs(bare, USERS[0] if by_root() else None)


@pytest.fixture
def other(bare: Cluster) -> Jobs:
    """Another user of it."""
    if not by_root():
        pytest.skip("jobs of two users need a cluster that root started")
    return Jobs(bare, USERS[1])


@pytest.fixture(scope="module")
def crashing() -> Iterator[CrashSite]:
    """A site whose parts are killed."""
    if reason := why_not():
        pytest.skip(reason)
    from crash_site import crash_site  # it imports what the vendors' servers need

    with crash_site() as running:
        yield running


@pytest.fixture(scope="session")
def full_site() -> Iterator[FullSite]:
    """A site with a QPU of each kind, which tests share: each leaves it as it was."""
    if reason := why_not():
        pytest.skip(reason)
    from full_site import full_site as started  # it imports what the vendors' servers need

    with started() as running:
        yield running


@pytest.fixture
def site(full_site: FullSite) -> Iterator[FullSite]:
    """It, and a look that a test left nothing behind: no lease, no session, no task, no file."""
    full_site.clock.seconds = 0.0
    yield full_site
    full_site.clock.seconds = 0.0
    full_site.nothing_is_left()
