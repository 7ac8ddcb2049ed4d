# SPDX-License-Identifier: Apache-2.0
"""The vendor's side of a lease: acquired and given back with the intent in the journal first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qrmi_core.errors import QRMIError
from qrmi_core.leases.failpoints import step
from qrmi_core.leases.journal import Journal
from qrmi_core.leases.records import Acquisition, AcquisitionState, LeaseRecord
from qrmi_core.resource import QuantumResource

__all__ = ["acquire", "give_back", "reason_of"]


def reason_of(error: BaseException) -> str:
    """What to tell of an error; ours say it themselves."""
    return str(error) if isinstance(error, QRMIError) else f"{type(error).__name__}: {error}"


def acquire(
    journal: Journal, record: LeaseRecord, name: str, resource: QuantumResource, *, until: float | None = None
) -> LeaseRecord:
    """Acquire one resource of a lease; the record with its token, which is in the journal.

    What a vendor gave and the journal could not take is given back at once.

    Raises:
        QRMIError: the vendor refused, or the journal cannot be written; what a driver raises else goes through.
    """
    asking = replace(record.acquisition(name), state=AcquisitionState.ACQUIRING, until=until, reason=None)
    with step("grant.intent"):
        journal.write(record.with_acquisition(asking))
    with step("grant.acquire"):
        token = resource.acquire()
    acquired = record.with_acquisition(replace(asking, state=AcquisitionState.ACQUIRED, token=token))
    try:
        with step("grant.outcome"):
            journal.write(acquired)
    except QRMIError:
        resource.release(token)
        raise
    return acquired


def give_back(
    journal: Journal,
    record: LeaseRecord,
    release: Callable[[Acquisition], Acquisition],
    *,
    failed: Callable[[Acquisition, str], Acquisition],
) -> LeaseRecord:
    """Release each acquisition, the last first; the record with what came of it, which is in the journal.

    Every one is tried, whatever becomes of the others. ``release`` returns what became of one, ``failed`` what to
    keep of one whose release raised an error.
    """
    with step("release.intent"):
        journal.write(record)
    for acquisition in reversed(record.acquisitions):
        if not acquisition.state.may_be_held:
            continue
        try:
            with step("release.vendor"):
                changed = release(acquisition)
        except Exception as error:  # noqa: BLE001  a resource that fails must not keep the others from their release
            changed = failed(acquisition, reason_of(error))
        if changed != acquisition:
            record = record.with_acquisition(changed)
            with step("release.outcome"):
                journal.write(record)
    return record
