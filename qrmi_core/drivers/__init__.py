# SPDX-License-Identifier: Apache-2.0
"""Drivers: one module for each vendor's type, found through the entry-point group ``qrmi.drivers``.

What stands in ``__all__`` is for drivers outside of this distribution too; ``docs/vendor-guide.md`` shows its use.
"""

from qrmi_core.drivers.vendor import (
    VENDOR_VARIABLES,
    VendorResource,
    about_task,
    expect,
    new_id,
    seconds_since_epoch,
)
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.submission import Undecided, submit_once
from qrmi_core.tokens import BearerToken, Token, seconds_left

__all__ = [
    "VENDOR_VARIABLES",
    "BearerToken",
    "HttpClient",
    "Response",
    "Token",
    "Told",
    "Undecided",
    "VendorResource",
    "about_task",
    "expect",
    "new_id",
    "seconds_left",
    "seconds_since_epoch",
    "submit_once",
]
