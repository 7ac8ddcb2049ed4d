# SPDX-License-Identifier: Apache-2.0
"""What every driver must do when the way to its server is bad, tried through a proxy that makes faults."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from qrmi_core.conformance.checks import Check, expect
from qrmi_core.conformance.proxy import FaultProxy, behind_proxies
from qrmi_core.conformance.trial import Failure, Inconclusive, Trial
from qrmi_core.errors import QRMIError, SubmissionUncertain
from qrmi_core.resource import QuantumResource

__all__ = ["FAULT_CHECKS"]

SILENCE = 0.5
GRACE = 5.0

FAULT_CHECKS: list[Check] = []

READ_FAULTS = ("error", "unavailable", "too_many", "reset_before", "reset_after", "truncated")
HANGS = ("hang",) * 20
MOST_READS = 4

ELSEWHERE = (
    "a result comes without a GET through the proxy: from a store whose requests are signed for its host (S3), which "
    "is not behind it"
)


def check(name: str, *, needs: tuple[str, ...] = ("result",), tasks: int = 0) -> Callable[[Any], Any]:
    def add(look: Callable[[Trial], None]) -> Callable[[Trial], None]:
        FAULT_CHECKS.append(Check(name, look, needs, tasks))
        return look

    return add


@dataclass
class Way:
    """The way to the servers that a resource's variables name, through a proxy for each of them."""

    trial: Trial
    proxies: list[FaultProxy]
    addresses: Mapping[str, str]

    def resource(self, **variables: str) -> QuantumResource:
        """A new object whose requests go this way; it remembers nothing of what others asked."""
        return self.trial.resource(**self.addresses, **variables)

    def break_next(self, *faults: str, requests: str = "GET") -> None:
        """Make these faults of the next ``requests`` (by their method) at each server."""
        for proxy in self.proxies:
            proxy.faults.next_faults = [(requests, fault) for fault in faults]

    @property
    def was_broken(self) -> bool:
        """Whether a fault was made: whoever sends nothing meets none."""
        return any(proxy.made for proxy in self.proxies)


@contextlib.contextmanager
def proxied(trial: Trial) -> Iterator[Way]:
    """A way through proxies that are there for this one use."""
    servers = behind_proxies(trial.values)
    if not servers:
        raise Inconclusive("no variable of this resource holds the address of a server")
    with ExitStack() as stack:
        proxies = {server: stack.enter_context(FaultProxy(server)) for server, _ in servers.values()}
        addresses = {variable: proxies[server].url + rest for variable, (server, rest) in servers.items()}
        yield Way(trial, list(proxies.values()), addresses)


def comes_this_way(trial: Trial, task_id: str) -> bool:
    """Whether a result needs a GET that goes through the proxies: those refuse each one meanwhile."""
    with proxied(trial) as way:
        for proxy in way.proxies:
            proxy.refusing = True
        # A driver may tidy up in the background once it has the result; it shall not try for long at closed proxies.
        resource = way.resource(QRMI_HTTP_DEADLINE="2")
        try:
            resource.task_output(task_id)
        except QRMIError as error:
            trial.heard(error)
            return True
    return False


def survives(trial: Trial, what: str, fault: str, read: Callable[[QuantumResource], object]) -> bool:
    """Whether a read by a new object met this fault, which it must survive."""
    with proxied(trial) as way:
        way.break_next(fault)
        try:
            read(way.resource())
        except QRMIError as error:
            trial.heard(error)
            if not way.was_broken:
                raise
            raise Failure(f"the {what} does not survive one {fault}: {error}") from error
        return way.was_broken


@check("reads-survive", tasks=1 + len(READ_FAULTS))
def reads_survive(trial: Trial) -> None:
    """Reads survive 500, 503, 429, resets and truncated bodies."""
    ended = trial.finished().id
    for fault in READ_FAULTS:
        if not survives(trial, "status of a task", fault, lambda resource: resource.task_info(ended)):
            raise Inconclusive("a new object told a task's status without a GET through the proxy")
    if not comes_this_way(trial, trial.completed().id):
        raise Inconclusive(f"the status of a task survives, but {ELSEWHERE}")
    for fault in READ_FAULTS:
        unread = trial.completed().id  # at some vendors a result can be read by one process only
        if not survives(trial, "result", fault, lambda resource, unread=unread: resource.task_output(unread)):  # type: ignore[misc]
            raise Inconclusive("a new object gave a result without a GET through the proxy")


@check("whole-results", tasks=1 + MOST_READS)
def whole_results(trial: Trial) -> None:
    """A result that arrives cut off is fetched again, or is an error; never the part that came."""
    unread = trial.completed().id
    if not comes_this_way(trial, unread):
        raise Inconclusive(ELSEWHERE)
    with proxied(trial) as way:
        way.resource().task_output(unread)
        reads = [(server, number) for server, proxy in enumerate(way.proxies) for number in range(proxy.reads)]
    for server, number in reads[:MOST_READS]:
        unread = trial.completed().id
        data = None
        with proxied(trial) as way:
            way.proxies[server].faults.next_faults = [("GET", "none")] * number + [("GET", "cut_json")]
            try:
                data = way.resource().task_output(unread)
            except QRMIError as error:
                trial.heard(error)
                if not way.was_broken:
                    raise
            if not way.was_broken:
                raise Inconclusive("a new object gave a result with fewer requests than the one before")
        whole = data is None or _is_whole(trial, unread, data)
        expect(whole, f"{len(data or b'')} bytes were given as the result, and that is not all of it")


def _is_whole(trial: Trial, task_id: str, data: bytes) -> bool:
    try:
        counted = trial.programs.counts(data)
    except QRMIError as error:
        trial.heard(error)
        return False
    try:
        return sum(counted.values()) == trial.shots and data == trial.resource().task_output(task_id)
    except QRMIError as error:  # it could be read once
        trial.heard(error)
        return True


@check("submitted-once", tasks=3)
def submitted_once(trial: Trial) -> None:
    """A submission whose answer was lost is taken once: it is looked up, or told as SubmissionUncertain."""
    with proxied(trial) as way:
        resource = way.resource()
        trial.run(resource).wait(trial.patience)  # from now on tokens and sessions are there
        for each in way.proxies:
            each.posted.clear()
        whole = trial.run(resource)
        proxy = next((each for each in way.proxies if each.posted), None)
        if proxy is None:
            raise Inconclusive("no POST of a submission went through the proxy")
        posted = [_route(path) for path in proxy.posted]
        whole.wait(trial.patience)
        proxy.accepted.clear()
        # The last POST of a submission is the one that makes it run; those before it are let through.
        proxy.faults.next_faults = [("POST", "none")] * (len(posted) - 1) + [("POST", "reset_after")]
        task = None
        try:
            task = trial.run(resource)
        except SubmissionUncertain as error:
            trial.heard(error)
        except QRMIError as error:
            trial.heard(error)
            raise Failure(f"the task was neither looked up nor SubmissionUncertain, but {_named(error)}") from error
        finally:
            proxy.faults.next_faults = []
        if not way.was_broken:
            raise Inconclusive("the second submission sent fewer POSTs than the first, so its answer was not lost")
        taken = sum(_route(path) == posted[-1] for path in proxy.accepted)
        expect(taken == 1, f"the server took {taken} submissions of one task")
        if task is not None:
            task.wait(trial.patience)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _route(path: str) -> str:
    """The path with its ids left out: those are long and hold digits."""
    parts = path.rstrip("/").split("/")
    return "/".join("*" if len(part) >= 8 and any(letter.isdigit() for letter in part) else part for part in parts)


@check("silence", tasks=2)
def silence(trial: Trial) -> None:
    """A server that is silent costs the time-out, and then a typed error: of a status, a result and a submission."""
    limits = {"QRMI_HTTP_READ_TIMEOUT": str(SILENCE), "QRMI_HTTP_DEADLINE": "2"}
    if not any(variable.name in limits for variable in trial.kind.variables):
        raise Inconclusive("this driver has no variable for its time-out (QRMI_HTTP_READ_TIMEOUT)")
    ended = trial.finished().id
    heard = []
    with proxied(trial) as way:
        submitter = way.resource(**limits)
        unread = trial.run(submitter).id  # from now on tokens and sessions are there
        submitter.task_wait([unread], timeout=trial.patience)
        way.break_next(*HANGS, requests="")
        if _is_silenced(trial, "submission", lambda: trial.run(submitter)) and way.was_broken:
            heard.append("submission")
    for what, read in (
        ("status of a task", lambda resource: resource.task_info(ended)),
        ("result", lambda resource: resource.task_output(unread)),
    ):
        with proxied(trial) as way:
            way.break_next(*HANGS)
            reader = way.resource(**limits)
            silenced = _is_silenced(trial, what, lambda read=read, reader=reader: read(reader))  # type: ignore[misc]
            if silenced and way.was_broken:
                heard.append(what)
    missing = [what for what in ("submission", "status of a task", "result") if what not in heard]
    if missing:
        raise Inconclusive(f"no request through the proxy was needed for the {' and the '.join(missing)}")


def _is_silenced(trial: Trial, what: str, call: Callable[[], object]) -> bool:
    """Whether a call ends with a typed error while the server is silent; False when it needs no answer."""
    raised: list[Exception | None] = []

    def work() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  whatever a driver raises is told
            raised.append(error)
        else:
            raised.append(None)

    worker = threading.Thread(target=work, name=f"silence: {what}", daemon=True)
    worker.start()
    worker.join(SILENCE + GRACE)
    if not raised:
        raise Failure(f"a time-out of {SILENCE:g} s was set, and the {what} got no error for {SILENCE + GRACE:g} s")
    error = raised[0]
    if error is None:
        return False
    trial.heard(error)
    expect(isinstance(error, QRMIError), f"the {what} got no QRMIError, but {_named(error)}")
    return True


@check("unknown-status-word", tasks=1)
def unknown_status_word(trial: Trial) -> None:
    """A status word that the driver does not know ends no task and raises no error."""
    words = getattr(trial.kind, "words", None)
    if not words:
        raise Inconclusive("this driver does not list the vendor's words for a status (`words`)")
    with proxied(trial) as way:
        resource = way.resource()
        task = trial.run(resource)
        for proxy in way.proxies:
            proxy.new_words[:] = list(words)
        try:
            told = resource.task_info(task.id)
        except QRMIError as error:
            trial.heard(error)
            raise Failure(f"a new status word is an error: {error}") from error
        if all(proxy.new_words for proxy in way.proxies):
            raise Inconclusive("no status word was seen in the server's answers")
        expect(not told.status.is_final, f"a new status word ended the task as {told.status.value}")
        for proxy in way.proxies:
            proxy.new_words.clear()
        ended = task.wait(trial.patience)
        expect(ended.status.is_final, "the task never ended")
