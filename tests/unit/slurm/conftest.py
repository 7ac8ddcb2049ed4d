# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside it, and the munge of the vendors' tests, importable here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "vendors")]

from munge_daemon import Munged, libraries, munged  # noqa: E402
from node_case import Node  # noqa: E402


@pytest.fixture(scope="module")
def daemon() -> Iterator[Munged]:
    libraries()
    with munged() as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, daemon: Munged) -> Node:
    return Node(tmp_path, daemon.socket)
