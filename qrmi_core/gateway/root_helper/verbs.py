# SPDX-License-Identifier: Apache-2.0
"""The four verbs: what each takes, whom it believes, what it does."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Mapping
from typing import Any

from qrmi_core import munge
from qrmi_core.errors import QRMIError
from qrmi_core.gateway.root_helper.children import run_as, run_slurm
from qrmi_core.gateway.root_helper.journal_view import JournalView
from qrmi_core.gateway.root_helper.reasons import ReasonFiles
from qrmi_core.gateway.root_helper.settings import HelperSettings
from qrmi_core.names import licence

__all__ = ["Refusal", "Verbs"]

CREDENTIAL_SECONDS = 60
LONGEST_TEXT = 999
LONGEST_REASON = 500
LARGEST = 2**32 - 1

_CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
_TASK = re.compile(r"\d+_\d+")
_PAIR = r"[a-z0-9_.]+=[a-z0-9_.:+-]*"
_COMMENT = re.compile(rf"(?:qpu )?{_PAIR}(?:[ ;]{_PAIR})*")


class Refusal(QRMIError):
    """The helper does not do this."""


class Verbs:
    """Each method is a verb, its parameters are the arguments, all of them strangers' until they were checked."""

    def __init__(self, settings: HelperSettings) -> None:
        self._settings = settings
        self._journal = JournalView(settings.journal, settings.uid, settings.gid)
        self._reasons = ReasonFiles(settings.slurm_conf)
        self._by_name: Mapping[str, tuple[frozenset[str], Callable[..., str]]] = {
            "munge_root": (frozenset({"payload"}), self.munge_root),
            "munge_user": (frozenset({"uid", "payload"}), self.munge_user),
            "reservation": (frozenset({"action", "resource", "reason", "lanes"}), self.reservation),
            "system_comment": (frozenset({"cluster", "job_id", "submitted", "text"}), self.system_comment),
        }

    def call(self, request: Any) -> str:
        """Do what a request asks for: ``{"verb": name, argument: value, ...}``.

        Raises:
            QRMIError: it is refused, or failed; ``transient`` tells whether asking again may help.
        """
        if not isinstance(request, dict) or not isinstance(verb := request.get("verb"), str):
            raise Refusal('a request is an object with a "verb"')
        if verb not in self._by_name:
            raise Refusal(f"the verbs are {', '.join(self._by_name)}")
        names, method = self._by_name[verb]
        arguments = {name: value for name, value in request.items() if name != "verb"}
        if arguments.keys() != names:
            raise Refusal(f"{verb} takes {', '.join(sorted(names))}, and each of them")
        return method(**arguments)

    def munge_root(self, payload: Any) -> str:
        """A credential of root, for opening and closing Warden's sessions."""
        self._empty(payload)
        return munge.encode(socket=self._settings.munge_socket, ttl=CREDENTIAL_SECONDS)

    def munge_user(self, uid: Any, payload: Any) -> str:
        """A credential of a user who holds a resource that knows users by munge."""
        self._empty(payload)
        resources = self._settings.munged
        user = _number("uid", uid)
        if user == 0 or not self._journal.holds(user, resources):
            raise Refusal(f"user {user} has no live lease of {' or '.join(resources)}")
        try:
            gid = pwd.getpwuid(user).pw_gid
        except KeyError:
            raise Refusal(f"this host knows no user {user}") from None
        return run_as(
            user, gid, lambda: munge.encode(socket=self._settings.munge_socket, ttl=CREDENTIAL_SECONDS)
        )  # fmt: skip

    def reservation(self, action: Any, resource: Any, reason: Any, lanes: Any) -> str:
        """Make or lift the reservation that takes a resource out of service; twice is no error.

        ``lanes`` may say that it is only some of them, of a pool of which some members are in service; None is all.
        """
        total = self._settings.lanes.get(resource) if isinstance(resource, str) else None
        if total is None:
            raise Refusal("resource: the configuration has none of that name")
        kept_back = total if lanes is None else _number("lanes", lanes)
        if not 1 <= kept_back <= total:
            raise Refusal(f"lanes: a number from 1 to {total} was expected")
        if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise Refusal(f"reason: one line of at most {LONGEST_REASON} characters was expected")
        name = f"qrmi_{resource}"
        if action == "make":
            done = self._make(name, licence(resource), kept_back)
            if kept_back == total:
                self._reasons.write(resource, reason)
            else:  # the others take jobs
                self._reasons.remove(resource)
            return done
        if action == "lift":
            done = self._lift(name)
            self._reasons.remove(resource)
            return done
        raise Refusal("action: make or lift was expected")

    def system_comment(self, cluster: Any, job_id: Any, submitted: Any, text: Any) -> str:
        """Write the usage of a job of ours where sacct shows it."""
        if not isinstance(cluster, str) or not _CLUSTER.fullmatch(cluster):
            raise Refusal("cluster: the name of a cluster was expected")
        job, moment = _number("job_id", job_id), _number("submitted", submitted)
        if not isinstance(text, str) or len(text) > LONGEST_TEXT or not _COMMENT.fullmatch(text):
            raise Refusal(f"text: key=value pairs in lower case, at most {LONGEST_TEXT} characters, were expected")
        if not self._journal.had_lease(cluster, job, moment):
            raise Refusal(f"the journal knows no lease of job {job} of {cluster}, submitted at {moment}")
        asked = ("--allocations", "--noheader", "--parsable2", f"--clusters={cluster}", f"--jobs={job}")
        code, told = self._slurm("sacct", *asked, "--format=JobIDRaw,JobID,Submit")
        if "accounting storage is disabled" in told:
            raise Refusal("this cluster has no accounting (slurmdbd)")
        # An array has the id of one of its tasks: both commands take it for all of them, but for the form 40_2.
        rows = [line.split("|") for line in told.splitlines() if line.startswith(f"{job}|")]
        if code or not rows:
            raise Refusal(f"sacct does not know job {job} yet: {told[:200] or 'no record'}", transient=True)
        _, name, last = rows[-1]
        if last != str(moment):
            raise Refusal(f"the accounting has a later job of the id {job}, or a later run: it is left alone")
        which = name if _TASK.fullmatch(name) else job
        where = ("where", f"jobid={which}", f"cluster={cluster}", "set", f"SystemComment={text}")
        code, told = self._slurm("sacctmgr", "-i", "modify", "job", *where)
        if code or "Modified" not in told:  # "Nothing modified", or nothing, may come with 0
            raise Refusal(f"sacctmgr did not take it: {told[:200]}", transient=True)
        return "written"

    def _empty(self, payload: Any) -> None:
        """Warden reads nothing but who made a credential, so ours carry nothing."""
        if payload != "":
            raise Refusal("payload: it must be empty")
        if not self._settings.munged:
            raise Refusal("no resource of the configuration needs credentials of munge")

    def _make(self, name: str, licence: str, lanes: int) -> str:
        code, told = self._slurm("scontrol", "-o", "show", "reservation", name)
        if code == 0:
            if f"Licenses={licence}:{lanes} " in f"{told} ":
                return "was made"
            if f"Licenses={licence}:" not in told:
                raise Refusal(f"there is a reservation {name} without the licence {licence}: delete it")
            code, told = self._slurm("scontrol", "update", f"reservation={name}", f"licenses={licence}:{lanes}")
            if code:
                raise Refusal(f"scontrol could not change {name}: {told[:200]}", transient=True)
            return "changed"
        when = ("starttime=now", "duration=UNLIMITED", "flags=LICENSE_ONLY", "nodecnt=0")
        what = (f"reservation={name}", "users=root", f"licenses={licence}:{lanes}")
        code, told = self._slurm("scontrol", "create", *what, *when)
        if code:
            raise Refusal(f"scontrol could not make {name}: {told[:200]}", transient=True)
        return "made"

    def _lift(self, name: str) -> str:
        code, told = self._slurm("scontrol", "-o", "show", "reservation", name)
        if code and "not found" in told:
            return "was lifted"
        code, told = self._slurm("scontrol", "delete", f"reservation={name}")
        if code:
            raise Refusal(f"scontrol could not lift {name}: {told[:200]}", transient=True)
        return "lifted"

    def _slurm(self, program: str, *arguments: str) -> tuple[int, str]:
        return run_slurm(self._settings.slurm_conf, program, *arguments)


def _number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise Refusal(f"{name}: a number was expected")
    return value
