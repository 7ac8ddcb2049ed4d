# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of these tests importable by them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "doors"), str(HERE.parents[1] / "vendors")]

from munge_daemon import Munged, libraries, munged  # noqa: E402


@pytest.fixture(scope="session")
def daemons() -> Iterator[Munged]:
    """A munged of the tests' own."""
    libraries()
    with munged() as running:
        yield running
