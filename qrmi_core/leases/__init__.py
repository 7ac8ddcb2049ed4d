# SPDX-License-Identifier: Apache-2.0
"""Leases: the all-or-nothing grant of resources to one allocation. Knows no HTTP; it is handed resources."""

from qrmi_core.leases.granting import Lease, Leases
from qrmi_core.leases.journal import Journal, MemoryJournal

__all__ = ["Journal", "Lease", "Leases", "MemoryJournal"]
