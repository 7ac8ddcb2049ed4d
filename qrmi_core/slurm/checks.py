# SPDX-License-Identifier: Apache-2.0
"""Is Slurm set up as leases need it? What slurmctld's own configuration tells; each answer says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from qrmi_core.names import LICENCE, licence
from qrmi_core.slurm.configure import LIBRARY

__all__ = [
    "Finding",
    "fine",
    "licences",
    "of_configuration",
    "slurm_settings",
    "unseen",
    "wrong",
]

MARGIN = 10
"""Seconds that slurmd must allow a prolog beyond the prolog's own patience."""

DEFAULT_PATIENCE = 25
NO_LIMIT = 65534
SCRIPTS = {"Prolog": "qrmi-prolog", "Epilog": "qrmi-epilog", "EpilogSlurmctld": "qrmi-epilogslurmctld"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what came of it; ``not seen`` is what cannot be seen from this host, and no fault."""

    check: str
    result: Literal["fine", "wrong", "not seen"]
    reason: str = ""
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """The same as plain JSON values."""
        return asdict(self)


def fine(check: str, reason: str = "") -> Finding:
    """Nothing is to be done."""
    return Finding(check, "fine", reason)


def wrong(check: str, reason: str, advice: str) -> Finding:
    """Something is wrong; ``advice`` says what to do."""
    return Finding(check, "wrong", reason, advice)


def unseen(check: str, reason: str) -> Finding:
    """This host does not show it; ``reason`` says which one does."""
    return Finding(check, "not seen", reason)


def of_configuration(
    config: Mapping[str, str], local: Mapping[str, str], *, patience: int = DEFAULT_PATIENCE, on_node: bool = False
) -> list[Finding]:
    """Check the running configuration.

    Args:
        config: as ``scontrol show config`` tells it.
        local: what this host's slurm.conf says, keys in lower case; for what only a node's own tells.
        patience: of the nodes' prologs, in seconds.
        on_node: whether this host is a node, so that ``local`` counts for its scripts.
    """
    return [
        _backfill(config),
        _alloc(config),
        *(_script(key, config, local, on_node=on_node) for key in SCRIPTS),
        _prolog_timeout(config, patience),
        _batch_timeout(config, patience),
        _interactive(config),
        _lua(config),
    ]


def _values(config: Mapping[str, str], key: str) -> list[str]:
    value = config.get(key, "")
    return [] if value in {"(null)", "none"} else [part.strip() for part in value.split(",") if part.strip()]


def _backfill(config: Mapping[str, str]) -> Finding:
    check = "SchedulerParameters"
    kind = config.get("SchedulerType", "sched/backfill")
    if kind != "sched/backfill":
        return wrong(
            check,
            f"SchedulerType is {kind}, which does not keep lanes for the job that waits longest",
            "set SchedulerType=sched/backfill and SchedulerParameters=bf_licenses in slurm.conf, restart slurmctld",
        )
    if "bf_licenses" not in _values(config, check):
        return wrong(
            check,
            "bf_licenses is missing: a job for all lanes of a QPU can be overtaken for ever",
            "add bf_licenses to SchedulerParameters in slurm.conf, then `scontrol reconfigure`",
        )
    return fine(check, "bf_licenses")


def _alloc(config: Mapping[str, str]) -> Finding:
    check = "PrologFlags"
    # Contain and X11 imply Alloc.
    if {"Alloc", "Contain", "X11"} & set(_values(config, check)):
        return fine(check)
    return wrong(
        check,
        "Alloc is missing: the prolog would run at a job's first step only, and salloc's shell have no QPU",
        "set PrologFlags=Alloc in slurm.conf, then `scontrol reconfigure`",
    )


def _scripts(key: str, config: Mapping[str, str]) -> str:
    """The scripts of a kind; Slurm 24.11 may have several and tells them with numbers, ``Prolog[0]``, or not at all."""
    named = [value for name, value in config.items() if re.fullmatch(rf"{key}(\[\d+\])?", name)]
    return ",".join(named) or "(null)"


def _script(key: str, config: Mapping[str, str], local: Mapping[str, str], *, on_node: bool) -> Finding:
    ours = SCRIPTS[key]
    of_nodes = key != "EpilogSlurmctld"
    value = _scripts(key, config)
    if of_nodes and on_node:
        value = local.get(key.lower(), value)
    if value == "(null)":
        if of_nodes and not on_node and "NO_CONF_HASH" in config.get("DebugFlags", "").upper():
            return unseen(key, "each node has a slurm.conf of its own here")
        what = "no QPU would be acquired" if key == "Prolog" else "QPUs would be given back late"
        return wrong(
            key,
            f"is not set: {what}",
            f"set {key}={LIBRARY}/{ours} in slurm.conf, or call that from the site's own script",
        )
    if ours in value:
        return fine(key, value)
    return unseen(key, f"is {value}: it must call {ours}, and so must each script that takes its place")


def _seconds(text: str) -> int | None:
    """``60 sec`` and ``60`` as 60; None where there is no limit."""
    found = re.match(r"\d+", text)
    return None if found is None or int(found[0]) >= NO_LIMIT else int(found[0])


def _prolog_timeout(config: Mapping[str, str], patience: int) -> Finding:
    check = "PrologEpilogTimeout"
    seconds = _seconds(config.get(check, ""))
    if seconds is not None and seconds < patience + MARGIN:
        return wrong(
            check,
            f"is {seconds} s, and the prolog may wait {patience} s for a QPU: one that is killed drains its node",
            f'set {check}={patience + MARGIN} or more in slurm.conf, or make "patience" in node.json smaller',
        )
    return fine(check, "no limit" if seconds is None else f"{seconds} s for a patience of {patience} s")


def _batch_timeout(config: Mapping[str, str], patience: int) -> Finding:
    check = "BatchStartTimeout"
    seconds = _seconds(config.get(check, "10"))
    least = patience + 2 * MARGIN
    if seconds is not None and seconds < least:
        return wrong(
            check,
            f"is {seconds} s: a batch job whose prolog waits {patience} s for its QPU would be taken for lost",
            f"set {check}={least} or more in slurm.conf, then `scontrol reconfigure`",
        )
    return fine(check, "no limit" if seconds is None else f"{seconds} s")


def _interactive(config: Mapping[str, str]) -> Finding:
    check = "LaunchParameters"
    if "use_interactive_step" in _values(config, check):
        return fine(check, "use_interactive_step")
    return wrong(
        check,
        "use_interactive_step is missing: salloc's shell runs on the login node and has no QPU, only its sruns do",
        "add use_interactive_step to LaunchParameters in slurm.conf, then `scontrol reconfigure`",
    )


def _lua(config: Mapping[str, str]) -> Finding:
    check = "JobSubmitPlugins"
    if "lua" in _values(config, check):
        return fine(check)
    return wrong(
        check,
        "lua is missing: --qpu becomes no licence, so jobs don't wait for their QPU and are given none",
        "add lua to JobSubmitPlugins in slurm.conf, put job_submit.lua beside it, restart slurmctld",
    )


def licences(there: Mapping[str, tuple[int, int]], lanes: Mapping[str, int]) -> list[Finding]:
    """Compare Slurm's licences with the lanes of the site's QPUs.

    Args:
        there: total and used of each licence.
        lanes: of each QPU, by its name.
    """
    check = "Licenses"
    findings = [_licence(check, name, count, there) for name, count in lanes.items()]
    expected = {licence(name) for name in lanes}
    findings += [
        wrong(
            check,
            f"{name} is the licence of no QPU that the gateway knows: its jobs would start and be refused",
            "take it out of Licenses in slurm.conf, or add the QPU to qrmi_config.json",
        )
        for name in there
        if name.lower().startswith(LICENCE) and name.lower() not in expected
    ]
    wrongs = [finding for finding in findings if finding.result == "wrong"]
    if wrongs or not lanes:
        return wrongs
    return [fine(check, f"{len(lanes)} QPUs, {sum(lanes.values())} lanes")]


def _licence(check: str, name: str, lanes: int, there: Mapping[str, tuple[int, int]]) -> Finding:
    known = {key.lower(): total for key, (total, _) in there.items()}
    total = known.get(licence(name))
    if total == lanes:
        return fine(check, f"{name}: {lanes}")
    if total is None:
        return wrong(
            check,
            f"{licence(name)} is missing, so no job can ask for {name}",
            f"add {licence(name)}:{lanes} to Licenses in slurm.conf, then `scontrol reconfigure`",
        )
    more = "jobs would start that the gateway must refuse" if total > lanes else "lanes stay unused"
    return wrong(
        check,
        f"{licence(name)} is there {total} times, but {name} has {lanes} lanes: {more}",
        f"set {licence(name)}:{lanes} in Licenses in slurm.conf, then `scontrol reconfigure` (`qrmi slurm configure`)",
    )


def slurm_settings(texts: Iterable[str]) -> dict[str, str]:
    """``Key=value`` of the lines of slurm.conf's files; keys in lower case.

    The last line of a key counts, and of scripts every one: newer versions of Slurm run them all.
    """
    found: dict[str, str] = {}
    scripts = {name.lower() for name in SCRIPTS}
    for text in texts:
        for line in text.splitlines():
            key, sign, value = line.partition("#")[0].strip().partition("=")
            if sign and re.fullmatch(r"\w+", key.strip()):
                name = key.strip().lower()
                before = f"{found[name]}," if name in scripts and name in found else ""
                found[name] = before + value.strip()
    return found
