# SPDX-License-Identifier: Apache-2.0
"""Makes the vendor of these tests importable by them, and a journal for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmi_core.leases.sqlite_journal import SqliteJournal

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal")
    yield journal
    journal.close()
