# SPDX-License-Identifier: Apache-2.0
"""Sessions that only group jobs, as the books keep them: the machine behind the door knows none."""

from __future__ import annotations

import json
from dataclasses import asdict

from qrmi_core.gateway.dialects.ibm_sessions import Session
from qrmi_core.leases import LeaseTask

__all__ = ["kept_session", "session_text"]


def session_text(session: Session) -> str:
    """A session as it is kept."""
    return json.dumps(asdict(session))


def kept_session(task: LeaseTask) -> Session:
    """A session as it was kept."""
    fields = json.loads(task.detail or "{}")
    noted = fields.pop("timestamps")
    session = Session(**fields)
    session.timestamps = noted
    return session
