# SPDX-License-Identifier: Apache-2.0
"""Certificates for jobs to trust: the system's and the site's own authority, in one file.

Vendors' clients take one file that replaces the system's, and go to other hosts than the gateway too.
"""

from __future__ import annotations

from pathlib import Path

from qrmi_core.trust import system_roots

__all__ = ["ca_bundle"]

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


def ca_bundle(ca: Path) -> str | None:
    """The text of the file; None where ``ca`` or the system's certificates are not on this host."""
    roots = system_roots()
    if roots is None or not ca.is_file():
        return None
    found: dict[str, None] = {}
    for path in (roots, ca):
        for part in path.read_text(errors="replace").split(_BEGIN)[1:]:
            found[f"{_BEGIN}{part.partition(_END)[0]}{_END}\n"] = None
    return "".join(found)
