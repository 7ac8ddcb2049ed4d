# SPDX-License-Identifier: Apache-2.0
"""Is this host set up as leases need it? What only its own files, daemons and clock tell."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qrmi_core import munge
from qrmi_core.environment import slurm_environment
from qrmi_core.errors import InputError, QRMIError
from qrmi_core.slurm.checks import Finding, fine, unseen, wrong
from qrmi_core.slurm.configure import LIBRARY
from qrmi_core.slurm.plugin import plugin_version, version_text

__all__ = [
    "clock",
    "credential",
    "is_controller",
    "job_submit",
    "own_name",
    "plugin",
    "private_data",
    "read_slurm_conf",
]

PLUGIN = "qrmi_spank.so"
SLURM_COMMAND_SECONDS = 10
CLOCK_SECONDS = 30
_ENTRY = re.compile(r'\[?"?(\w+)"?\]?\s*=\s*\{\s*name\s*=\s*"[^"]*",\s*lanes\s*=\s*(\d+)')


def read_slurm_conf(path: Path, *, depth: int = 5) -> Iterator[str]:
    """The texts of a slurm.conf or plugstack.conf and of what it includes, in their order; unreadable ones left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    rest = []
    for line in text.splitlines():
        found = re.match(r"\s*include\s+(\S+)", line, re.IGNORECASE)
        if found is None or depth == 0:
            rest.append(line)
            continue
        yield "\n".join(rest)
        rest = []
        pattern = Path(found[1])
        base = Path(pattern.anchor) if pattern.is_absolute() else path.parent
        for each in sorted(base.glob(str(pattern.relative_to(pattern.anchor)))):
            yield from read_slurm_conf(each, depth=depth - 1)
    yield "\n".join(rest)


def own_name() -> str:
    """This host's name without its domain."""
    return socket.gethostname().split(".")[0]


def is_controller(config: Mapping[str, str]) -> bool:
    """True on a host on which slurmctld runs."""
    here = {socket.gethostname(), own_name()}
    hosts = (value for key, value in config.items() if key.startswith("SlurmctldHost"))
    return any(host.split("(")[0] in here for host in hosts)


def job_submit(config: Mapping[str, str], directory: Path, lanes: Mapping[str, int]) -> list[Finding]:
    """Check job_submit.lua and its table, which lie beside slurm.conf where slurmctld runs."""
    check = "job_submit.lua"
    if not is_controller(config):
        return [unseen(check, "lies on slurmctld's host")]
    script, table = directory / check, directory / "qrmi_qpus.lua"
    try:
        text = script.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [
            wrong(
                check,
                f"{script} cannot be read: {error.strerror}; slurmctld does not start again without it",
                f"copy it from `qrmi slurm files DIR` to {directory}",
            )
        ]
    if "qrmi" not in text:
        return [
            wrong(
                check,
                f"{script} is the site's own and does nothing for --qpu",
                f"put ours beside it as {directory}/qrmi_job_submit.lua and call it, as its first lines show",
            )
        ]
    return [fine(check, str(script)), _table(table, lanes)]


def _table(path: Path, lanes: Mapping[str, int]) -> Finding:
    check = path.name
    again = f"run `qrmi slurm configure --output DIR` and copy {path.name} to {path.parent}"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return wrong(check, f"{path} cannot be read: {error.strerror}; every --qpu is refused", again)
    told = {name: int(count) for name, count in _ENTRY.findall(text)}
    expected = {name.lower(): count for name, count in lanes.items()}
    if lanes and told != expected:
        differing = sorted({name for name, _ in told.items() ^ expected.items()})
        return wrong(check, f"{path} is not what the gateway knows: {', '.join(differing)} differ", again)
    return fine(check, f"{len(told)} QPUs")


def plugin(plugstack: Path, running: str) -> Finding:
    """Check the SPANK plugin that plugstack.conf names against slurmd's version, or slurmctld's where slurmd is not."""
    check = "SPANK plugin"
    line = f"optional {LIBRARY}/{PLUGIN} state_dir=/run/qrmi"
    texts = "\n".join(read_slurm_conf(plugstack))
    found = re.search(rf"^\s*(required|optional)\s+(\S*{re.escape(PLUGIN)})", texts, re.MULTILINE)
    if found is None:
        reason = f"no line of {plugstack} loads {PLUGIN}: --qpu is an unknown option here"
        return wrong(check, reason, f"add the line: {line}")
    path = Path(found[2])
    build = "on this host: `make -C DIR/spank install`, with DIR from `qrmi slurm files DIR`"
    try:
        built = plugin_version(path)
    except InputError as error:
        return wrong(check, f"{error}; --qpu is an unknown option here", f"build it {build}")
    of_slurm = _slurmd_version() or running
    numbers = re.match(r"(\d+)\.(\d+)", of_slurm)
    if numbers is None or (int(numbers[1]), int(numbers[2])) != built[:2]:
        reason = f"{path} was built for Slurm {version_text(built)}, and this is {of_slurm}: Slurm does not load it"
        return wrong(check, reason, f"build it again {build}")
    if found[1] == "required":
        reason = f'{plugstack} says "required": after an upgrade of Slurm, no job of anybody would start'
        return wrong(check, reason, f"write: {line}")
    return fine(check, f"{path}, for Slurm {version_text(built)}")


def _slurmd_version() -> str | None:
    command = shutil.which("slurmd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/slurm/sbin")
    if command is None:
        return None
    done = _done(command, "-V")
    found = done and re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    return found[0] if found else None


def _done(*command: str, slurm_conf: Path | None = None) -> subprocess.CompletedProcess[str] | None:
    """One of Slurm's commands and what it said; None where it is not there or does not end."""
    try:
        return subprocess.run(
            command,
            env=slurm_environment(slurm_conf),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SLURM_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def credential(
    node: str | None, nodes: Mapping[str, str], further: Mapping[str, Sequence[str]], munge_socket: str | None
) -> Finding:
    """Make a munge credential and compare its origin with what slurmctld takes for this node's address.

    Args:
        node: this host's name as a node; by default its host name, where that is one.
        nodes: names and NodeAddr of all.
        further: addresses of nodes that gateway.json allows besides, where this host can see it.
        munge_socket: where munged's is not the usual.
    """
    check = "munge"
    try:
        made = munge.decode(munge.encode(socket=munge_socket), socket=munge_socket)
    except munge.CredentialRejected as error:
        return wrong(check, str(error), "compare this host's clock and its munge.key with those of slurmctld's host")
    except QRMIError as error:
        return wrong(check, str(error), "start munged on this host, with the site's munge.key")
    name = node or own_name()
    if name not in nodes:
        return fine(check, f"works; {name} is no node of Slurm's, so its address does not matter")
    try:
        answers = socket.getaddrinfo(nodes[name], None, socket.AF_INET)
    except OSError as error:
        reason = f"the address of node {name}, {nodes[name]}, cannot be resolved: {error.strerror}"
        return wrong(check, reason, "mend the name service, or set NodeAddr in slurm.conf to an address")
    known = sorted({str(answer[4][0]) for answer in answers} | set(further.get(name, ())))
    if made.address not in known:
        return wrong(
            check,
            f"this host's credentials come from {made.address}, but slurmctld knows {name} as {', '.join(known)}: "
            f"the gateway refuses its prolog",
            f'start munged with --origin={known[0]}, or add {{"node_addresses": {{"{name}": ["{made.address}"]}}}} '
            f"to gateway.json",
        )
    return fine(check, f"{name} is {made.address}")


def clock(check: str, theirs: float, ours: float) -> Finding:
    """Compare two clocks, in seconds since the epoch: munge and leases need them alike."""
    apart = abs(theirs - ours)
    if apart > CLOCK_SECONDS:
        reason = f"this host's clock and the gateway's differ by {apart:.0f} s: credentials are good for 60 s"
        return wrong(check, reason, "run chrony or ntpd on both hosts")
    return fine(check, "this host's and the gateway's agree")


def private_data(config: Mapping[str, str], gateway_user: str | None, slurm_conf: Path | None = None) -> Finding:
    """Check that the gateway's user can see everybody's jobs."""
    check = "PrivateData"
    hidden = {part.strip() for part in config.get(check, "none").split(",")} & {"jobs", "nodes"}
    slurm_user = config.get("SlurmUser", "").split("(")[0]
    if not hidden or gateway_user in {"root", slurm_user}:
        return fine(check, config.get(check, "none"))
    who = gateway_user or "the gateway's user"
    level = _admin_level(who, slurm_conf) if gateway_user else None
    if level in {"Operator", "Administrator"}:
        return fine(check, f"{who} is {level}")
    reason = f"{' and '.join(sorted(hidden))} of others are hidden, so {who} cannot see what jobs hold: all are refused"
    if level is None:
        return unseen(check, f"{reason}, unless it is operator: `sacctmgr show user` tells")
    return wrong(check, reason, f"`sacctmgr modify user {who} set AdminLevel=Operator`")


def _admin_level(user: str, slurm_conf: Path | None) -> str | None:
    """The user's AdminLevel in Slurm's accounting, empty where there is no such user; None without accounting."""
    asked = ("sacctmgr", "--noheader", "--parsable2", "show", "user", user, "format=AdminLevel")
    done = _done(*asked, slurm_conf=slurm_conf)
    return done.stdout.strip() if done and done.returncode == 0 else None
