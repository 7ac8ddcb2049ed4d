# SPDX-License-Identifier: Apache-2.0
"""Leases: the all-or-nothing grant of resources to one allocation. Knows no HTTP; it is handed resources."""

from qrmi_core.leases.granting import Lease, Leases
from qrmi_core.leases.journal import Journal, JournalUnavailable, LeaseTask, MemoryJournal
from qrmi_core.leases.records import Acquisition, AcquisitionState, Holder, JobKey, LeaseRecord, LeaseState

__all__ = [
    "Acquisition",
    "AcquisitionState",
    "Holder",
    "JobKey",
    "Journal",
    "JournalUnavailable",
    "Lease",
    "LeaseRecord",
    "LeaseState",
    "LeaseTask",
    "Leases",
    "MemoryJournal",
]
