# SPDX-License-Identifier: Apache-2.0
"""Why a resource is out of service, in a file beside slurm.conf: job_submit.lua tells it at submission.

Plain text, one line, one file for each resource, which is there as long as its reservation. Where slurmctld runs on
another host than the helper, users are told of the reservation all the same, and to look in ``qrmi qpus``.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

__all__ = ["ReasonFiles"]

SITE_DIRECTORY = Path("/etc/slurm")
PREFIX = "qrmi_reason_"

_log = logging.getLogger("qrmi.helper")


class ReasonFiles:
    """The files beside one slurm.conf; a disk that does not take them is logged, and hinders nothing else."""

    def __init__(self, slurm_conf: str | None) -> None:
        self._directory = Path(slurm_conf).parent if slurm_conf else SITE_DIRECTORY

    def write(self, resource: str, reason: str) -> None:
        """Tell a reason from now on, one line."""
        file = self._file(resource)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            try:
                # Nobody's link is followed: the directory may be of Slurm's user.
                made = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
                with os.fdopen(made, "w", encoding="utf-8") as text:
                    os.fchmod(made, 0o644)
                    text.write(f"{reason}\n")
                draft.replace(file)
            except OSError:
                with contextlib.suppress(OSError):
                    draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            _log.warning("%s cannot be written, so sbatch does not tell why: %s", file, error.strerror)

    def remove(self, resource: str) -> None:
        """Tell it no longer."""
        try:
            self._file(resource).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s cannot be removed: %s", self._file(resource), error.strerror)

    def _file(self, resource: str) -> Path:
        return self._directory / f"{PREFIX}{resource.lower()}"
