# SPDX-License-Identifier: Apache-2.0
"""Somebody else holds the journal's lock for a while: what is to be written waits, and nothing that only reads does."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from doored import Doored
from munge_daemon import Munged

from qrmi_core import polling

MANY = 20
AER = {"name": "aer", "type": "aer-simulator", "environment": {}, "lanes": 2}
READS = ("/v1/usage", "/v1/leases", "/v1/resources", "/healthz")


@pytest.mark.timeout(120)
def test_announcements_wait_for_their_rows_and_keep_no_reader_waiting(
    daemons: Munged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Doored(tmp_path, daemons.socket, [AER])
    case.settings["listen"]["admin_tcp"] = "127.0.0.1:0"
    case.write([AER])
    monkeypatch.setenv("PATH", case.path)
    with case.running(), ThreadPoolExecutor(MANY + 1) as threads:
        job = case.granted("aer", uid=os.getuid())
        bodies = [json.dumps({"resource": "aer", "task": f"t{number}"}).encode() for number in range(MANY)]
        with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            announced = [threads.submit(case.ask, "POST", f"/v1/leases/{job.lease}/tasks", body) for body in bodies]
            assert polling.wait_until(lambda: sum(case.server._guard._busy.values()) >= MANY, timeout=30)
            read = threads.submit(lambda: [case.ask("GET", path)[0] for path in READS])
            assert read.result(20) == [200] * len(READS)
            assert not any(each.done() for each in announced)
            other.execute("ROLLBACK")
        assert {each.result(30)[0] for each in announced} == {200}
        assert len(case.gateway.journal.tasks(job.lease)) == MANY
