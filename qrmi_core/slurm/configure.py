# SPDX-License-Identifier: Apache-2.0
"""What Slurm and the commands on its hosts have to be told of the QPUs of a site, made from its qrmi_config.json.

No secret is read for it: names, types, lanes and descriptions are all that leaves the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qrmi_core.errors import InputError
from qrmi_core.gateway_address import checked_address
from qrmi_core.names import licence
from qrmi_core.slurm.ca_bundle import ca_bundle
from qrmi_core.slurm.limits import sacctmgr_text, tres_lines

__all__ = ["QPU", "Site", "files", "licences_line", "lua_string", "lua_table", "no_bundle", "qpus"]

LIBRARY = "/usr/lib/qrmi"
WARDEN = "pasqal-local"
BUNDLE = "ca-bundle.pem"
TIME_FOR_KILLING = 35
"""Seconds between the end of the prolog's own patience and the moment at which slurmd would kill it."""

TIME_TO_START = 30
"""Seconds that a batch job may take to start after the longest prolog."""


@dataclass(frozen=True, slots=True)
class QPU:
    """What everybody at a site may know of a QPU or a pool of them."""

    name: str
    type: str
    lanes: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Where things are; ``patience`` is how many seconds a job's start may wait for its QPU.

    ``gateway`` is http://HOST:PORT, https://HOST:PORT or unix:PATH; ``slurmdbd`` tells whether the cluster has one.
    """

    gateway: str
    ca: str | None = None
    munge_socket: str | None = None
    slurm_conf: str | None = None
    state_dir: str = "/run/qrmi"
    library: str = LIBRARY
    patience: int = 25
    slurmdbd: bool = False

    def __post_init__(self) -> None:
        if not _for_all_hosts(self.gateway):
            raise InputError(f"{self.gateway}: http://HOST:PORT, https://HOST:PORT or unix:/PATH was expected")
        for value in (self.state_dir, self.library):
            if not re.fullmatch(r"/[\w./+-]+", value):
                raise InputError(f"{value!r}: Slurm's files take an absolute path without blanks only")


def _for_all_hosts(gateway: str) -> bool:
    """Whether users' commands take this address, and the nodes' scripts, which know of no path below a server."""
    try:
        parts = urlsplit(checked_address(gateway))
    except ValueError:
        return False
    return (
        parts.scheme == "unix"
        or re.fullmatch(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", parts.netloc + parts.path) is not None
    )


def qpus(config: Path) -> list[QPU]:
    """The QPUs of a configuration file, and its pools, which jobs ask for in the same way.

    Raises:
        ConfigurationError: the file is wrong, and where.
    """
    from qrmi_core.config import load_site

    site = load_site(config)
    types = {each.name: each.type for each in site.resources}
    found = [QPU(each.name, each.type, each.lanes, each.description) for each in site.resources]
    return found + [
        QPU(pool.name, types[pool.members[0]], site.pool_lanes(pool), pool.description) for pool in site.pools
    ]


def licences_line(known: Iterable[QPU]) -> str:
    """``qpu_a:1,qpu_b:3``: each lane is one licence."""
    return ",".join(f"{licence(qpu.name)}:{qpu.lanes}" for qpu in known)


def lua_string(text: str) -> str:
    """A lua literal of that text: nothing in it ends the literal, and lua 5.1 reads it too."""
    safe = re.compile(rb"[A-Za-z0-9 _.,:;/()+=@%-]")
    pieces = (bytes([byte]) for byte in text.encode())
    return '"' + "".join(each.decode() if safe.match(each) else f"\\{each[0]:03d}" for each in pieces) + '"'


def lua_table(known: Iterable[QPU]) -> str:
    """The file that job_submit.lua reads: which names there are, and how many lanes each has."""
    rows = (
        f"    [{lua_string(qpu.name.lower())}] = {{ name = {lua_string(qpu.name)}, lanes = {qpu.lanes} }},\n"
        for qpu in known
    )
    head = "-- Written by `qrmi slurm configure`: change qrmi_config.json and run it again.\n"
    return f"{head}return {{ qpus = {{\n{''.join(rows)}}} }}\n"


def files(known: Sequence[QPU], site: Site) -> dict[str, str]:
    """The text of each file, by its name; ca-bundle.pem where the site has an authority whose file is on this host.

    Raises:
        InputError: there is no QPU.
    """
    if not known:
        raise InputError("the configuration has no QPU, so there is nothing to tell Slurm: add one to its resources")
    return {
        "qrmi_slurm.conf": _slurm_conf(known, site),
        "qrmi_plugstack.conf": _plugstack(site),
        "qrmi_sacctmgr.sh": sacctmgr_text([licence(qpu.name) for qpu in known]),
        "qrmi_qpus.lua": lua_table(known),
        "client.json": _client(known, site),
        "node.json": _node(site),
        **({BUNDLE: bundle} if site.ca and (bundle := ca_bundle(Path(site.ca))) else {}),
    }


def no_bundle(site: Site, made: Collection[str]) -> str | None:
    """Why ca-bundle.pem is not among the files that were made, and what to do; None where all is well."""
    if site.ca is None or BUNDLE in made:
        return None
    here = Path(site.ca).is_file()
    lacking = "the system's certificates are" if here else f"{site.ca} is"
    there = "a host that has them" if here else "the host that has it"
    return (
        f"{lacking} not on this host, so {BUNDLE} is not among the files, which is for jobs to trust the gateway (`ca` "
        f"in gateway.json): run this again on {there}"
    )


def _slurm_conf(known: Sequence[QPU], site: Site) -> str:
    limit = site.patience + TIME_FOR_KILLING
    return f"""\
# For slurm.conf, the same on all hosts. Written by `qrmi slurm configure`.
# Where slurm.conf has one of these keys already, join the values there (with a comma) and leave out the line here.

# One licence for each lane of a QPU. Jobs wait for them in Slurm's queue.
Licenses={licences_line(known)}
# job_submit.lua, which turns --qpu into licences, and qrmi_qpus.lua lie beside slurm.conf on slurmctld's host.
JobSubmitPlugins=lua
# So that a job for all lanes of a QPU is not overtaken for ever.
SchedulerParameters=bf_licenses
# The prolog runs on every node when a job gets its nodes, not at its first step.
PrologFlags=Alloc
Prolog={site.library}/qrmi-prolog
Epilog={site.library}/qrmi-epilog
EpilogSlurmctld={site.library}/qrmi-epilogslurmctld
# A prolog may wait {site.patience} s for a QPU ("patience" in node.json). If slurmd killed it, the node would drain.
PrologEpilogTimeout={limit}
BatchStartTimeout={limit + TIME_TO_START}
# The shell of salloc runs on a node of the job, so that it has the QPU's variables.
LaunchParameters=use_interactive_step
# A job that is put back into the queue because its QPU is away waits until slurmd has forgotten its credential: two
# minutes, unless this is shorter. It must be longer than the hosts' clocks differ, and than a job takes to start.
#AuthInfo=cred_expire=30
{_warden(known)}
{tres_lines([licence(qpu.name) for qpu in known], slurmdbd=site.slurmdbd)}"""


def _warden(known: Sequence[QPU]) -> str:
    if not any(qpu.type == WARDEN for qpu in known):
        return ""
    return """\
# Warden takes any munge credential of a user for that user: Slurm must take none that was not made for it.
CommunicationParameters=block_null_hash
"""


def _plugstack(site: Site) -> str:
    return f"""\
# For plugstack.conf, on all hosts with Slurm's commands or slurmd. Written by `qrmi slurm configure`.
# optional, not required: a plugin that does not fit Slurm's version must not stop jobs without a QPU.
optional {site.library}/qrmi_spank.so state_dir={site.state_dir}
"""


def _client(known: Sequence[QPU], site: Site) -> str:
    listed = [{"name": qpu.name, "type": qpu.type, "lanes": qpu.lanes, "description": qpu.description} for qpu in known]
    return _json({"url": site.gateway, "ca": site.ca, "munge_socket": site.munge_socket, "resources": listed})


def _node(site: Site) -> str:
    return _json(
        {
            "gateway": site.gateway,
            "ca": site.ca,
            "munge_socket": site.munge_socket,
            "state_dir": site.state_dir,
            "patience": site.patience,
            "slurm_conf": site.slurm_conf,
        }
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
