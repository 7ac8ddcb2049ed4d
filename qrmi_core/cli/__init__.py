# SPDX-License-Identifier: Apache-2.0
"""The command `qrmi`; its commands are in :mod:`qrmi_core.cli.application`."""

from __future__ import annotations

import sys

from qrmi_core.errors import (
    AmbiguousResource,
    ConfigurationError,
    InputError,
    JobEnvironmentError,
    NoQPUError,
    QRMIError,
    ResourceNotFound,
)

__all__ = ["main"]

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line; a user's mistake ends in one line on stderr."""
    try:
        if sys.argv[1:2] == ["gateway"]:
            from qrmi_core.cli.services import asked_for

            if (service := asked_for(sys.argv[2:])) is not None:
                service()
                return
        from qrmi_core.cli.application import app

        app()
    except QRMIError as error:
        from qrmi_core.cli.output import note

        note(str(error))
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def exit_code(error: QRMIError) -> int:
    """2 where the user can mend it by typing something else, 1 for everything that failed."""
    by_the_user = (InputError, ConfigurationError, JobEnvironmentError, ResourceNotFound, AmbiguousResource)
    return BAD_INPUT if isinstance(error, by_the_user) and not isinstance(error, NoQPUError) else FAILED
