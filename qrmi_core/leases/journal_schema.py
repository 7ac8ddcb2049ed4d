# SPDX-License-Identifier: Apache-2.0
"""The journal's tables, and how a journal of an earlier version comes to have them."""

from __future__ import annotations

import sqlite3

__all__ = ["VERSION", "bring_up_to_date"]

_STEPS = (
    """
    CREATE TABLE leases (
        id TEXT PRIMARY KEY, cluster TEXT, job_id INTEGER, submitted INTEGER, restarts INTEGER,
        uid INTEGER, user TEXT, account TEXT, nodes TEXT, ends REAL, batch INTEGER, array TEXT,
        state TEXT NOT NULL, granted REAL NOT NULL, expires REAL, reason TEXT, transient INTEGER NOT NULL,
        owner TEXT NOT NULL, nodes_done TEXT NOT NULL, ended REAL, may_hold INTEGER NOT NULL);
    CREATE UNIQUE INDEX one_for_each_run ON leases (cluster, job_id, submitted, restarts)
        WHERE state <> 'refused' AND job_id IS NOT NULL;
    CREATE INDEX held ON leases (may_hold) WHERE may_hold;
    CREATE INDEX over ON leases (ended) WHERE ended IS NOT NULL;
    CREATE TABLE acquisitions (
        lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE, place INTEGER NOT NULL, resource TEXT NOT NULL,
        lanes INTEGER NOT NULL, asked TEXT, state TEXT NOT NULL, token TEXT, reason TEXT, until REAL,
        tries INTEGER NOT NULL, next_try REAL NOT NULL, PRIMARY KEY (lease, resource));
    CREATE TABLE tasks (
        lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE, resource TEXT NOT NULL, task_id TEXT NOT NULL,
        PRIMARY KEY (lease, resource, task_id));
    """,
    """
    ALTER TABLE tasks ADD COLUMN kind TEXT NOT NULL DEFAULT 'task';
    ALTER TABLE tasks ADD COLUMN parent TEXT;
    ALTER TABLE tasks ADD COLUMN program TEXT;
    ALTER TABLE tasks ADD COLUMN detail TEXT;
    ALTER TABLE tasks ADD COLUMN submitted REAL;
    ALTER TABLE tasks ADD COLUMN started REAL;
    ALTER TABLE tasks ADD COLUMN ended REAL;
    ALTER TABLE tasks ADD COLUMN shots INTEGER;
    ALTER TABLE tasks ADD COLUMN usage REAL;
    ALTER TABLE tasks ADD COLUMN outcome TEXT;
    CREATE INDEX by_name ON tasks (resource, task_id);
    CREATE INDEX by_time ON tasks (submitted);
    CREATE TABLE tokens (
        digest BLOB PRIMARY KEY, lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE);
    CREATE INDEX of_lease ON tokens (lease);
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
    ALTER TABLE leases ADD COLUMN told REAL;  -- the end of the lease that the accounting was told of
    UPDATE leases SET told = ended;
    CREATE INDEX untold ON leases (ended) WHERE ended IS NOT NULL AND told IS NOT ended;
    """,
)
"""The first makes an empty journal one of version 1, each other makes one of the version before its own."""

VERSION = len(_STEPS)


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Change a journal of that version (0: an empty one) into one of :data:`VERSION`, or leave it as it is.

    Raises:
        sqlite3.Error: it could not be changed; it is as it was.
    """
    if version < VERSION:
        script = "".join(_STEPS[version:])
        connection.executescript(f"BEGIN;{script}PRAGMA user_version = {VERSION};COMMIT;")
