# SPDX-License-Identifier: Apache-2.0
"""Makes tiny_engine importable by the tests, as PYTHONPATH does for the engines' hosts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qrmi_core import JobContext

if TYPE_CHECKING:
    from tiny_engine import TinyEngine

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinyEngine:
    from tiny_engine import TinyEngine

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return TinyEngine("tiny", {"QRMI_ENGINE_LANES": "4", "QRMI_ENGINE_SEED": "11"}, JobContext())


@pytest.fixture
def held(tiny: TinyEngine) -> Iterator[TinyEngine]:
    """The engine as a program under a lease sees it."""
    from tiny_engine import TinyEngine

    token = tiny.acquire()
    yield TinyEngine("tiny", tiny.settings, JobContext(acquisition_token=token))
    tiny.release(token)
