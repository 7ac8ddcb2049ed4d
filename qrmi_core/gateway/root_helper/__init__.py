# SPDX-License-Identifier: Apache-2.0
"""The root helper: the four things that the gateway needs root for, and nothing else.

The gateway runs as a user without rights. The helper runs as root beside it, listens at a unix socket that only this
user can open, and checks every argument against the configuration and the journal before it does anything.
"""

from qrmi_core.gateway.root_helper.server import serve
from qrmi_core.gateway.root_helper.settings import HelperSettings, load

__all__ = ["HelperSettings", "load", "serve"]
