# SPDX-License-Identifier: Apache-2.0
"""The variables through which vendors' own clients, unmodified, find a server in their vendor's place.

Pure functions: what is in the environment already is handed in, and what it lacks comes out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "DIGESTS",
    "EMULATED_INSTANCE",
    "HOOK",
    "MARK",
    "NO_PROXY",
    "PASQAL_HOOK",
    "PYTHONPATH",
    "extended_no_proxy",
    "ibm_variables",
    "marked",
    "pasqal_variables",
    "with_hook",
]

NO_PROXY = ("NO_PROXY", "no_proxy")
PYTHONPATH = "PYTHONPATH"
PASQAL_HOOK = "QRMI_PASQAL_HOOK"
"""Set to 1 where programs for Pasqal's cloud are to run without any change."""

MARK = "QRMI_VENDOR_VARIABLES"
"""Names the others, so that an allocation inside another one leaves none of the outer one's behind."""

DIGESTS = "QRMI_VENDOR_DIGESTS"
"""What they were set to: of a job that is submitted from inside, Slurm's plugin takes back those that still are so."""

EMULATED_INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/0123456789abcdef0123456789abcdef:emulator::"
"""The instance of IBM's cloud that a server before simulators stands for."""

HOOK = Path(__file__).parent / "pasqal_hook"
"""The directory that makes :mod:`pasqal_cloud` find the server, once it stands in ``PYTHONPATH``."""


def ibm_variables(url: str, token: str, instance: str) -> dict[str, str]:
    """What makes ``QiskitRuntimeService()`` of qiskit-ibm-runtime >= 0.49 open the instance that is served at ``url``.

    The word "experimental" in the URL keeps the client from rewriting its host and port. The channel is named, since
    the user may have chosen another one.
    """
    return {
        "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
        "QISKIT_IBM_TOKEN": token,
        "QISKIT_IBM_URL": f"{url}/experimental/api/v1",
        "QISKIT_IBM_INSTANCE": instance,
        "IAM_URL": url,
        "GLOBAL_SEARCH_URL": url,
        "GLOBAL_CATALOG_URL": f"{url}/api/v1",
    }


def pasqal_variables(url: str, token: str) -> dict[str, str]:
    """What the hook reads, or a program that hands pasqal-cloud its endpoints and its token itself."""
    return {"QRMI_PASQAL_URL": url, "QRMI_PASQAL_TOKEN": token}


def extended_no_proxy(current: Mapping[str, str], host: str) -> dict[str, str]:
    """Both spellings of the list of hosts that are reached without a proxy, with this one in it.

    Most clients read the lower-case one, and the other only where that is not there: a list of the user's in one of
    them counts for both, then.
    """
    upper, lower = (current.get(name) for name in NO_PROXY)
    found = {"NO_PROXY": upper if upper is not None else lower, "no_proxy": lower or upper}
    return {name: _with(text or "", host) for name, text in found.items()}


def with_hook(pythonpath: str | None) -> str:
    """The list of directories with the hook's in front."""
    others = [each for each in (pythonpath or "").split(os.pathsep) if each and each != str(HOOK)]
    return os.pathsep.join([str(HOOK), *others])


def marked(variables: Mapping[str, str], current: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables, and what tells of them: their names and the digests of their values, in the plugin's form.

    What the environment tells of others, which an allocation outside has set, is kept.
    """
    known = current or {}
    names = [name for name in known.get(MARK, "").split(",") if name and name not in variables]
    digests = [each for each in known.get(DIGESTS, "").split(",") if each and each.partition("=")[0] not in variables]
    own = [f"{name}={_digest(value)}+0+0" for name, value in variables.items()]
    return {**variables, MARK: ",".join([*names, *variables]), DIGESTS: ",".join([*digests, *own])}


def _digest(value: str) -> str:
    """FNV-1a of 64 bits."""
    found = 0xCBF29CE484222325
    for byte in value.encode():
        found = (found ^ byte) * 0x100000001B3 % 2**64
    return f"{found:016x}"


def _with(listed: str, host: str) -> str:
    words = [word.strip() for word in listed.split(",")]
    return listed if host in words or "*" in words else ",".join([*filter(None, words), host])
