# SPDX-License-Identifier: Apache-2.0
"""What every driver must do when the way to its server is bad, tried through a proxy that makes faults."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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


def check(name: str, *, needs: tuple[str, ...] = ("result",), tasks: int = 0) -> Callable[[Any], Any]:
    def add(look: Callable[[Trial], None]) -> Callable[[Trial], None]:
        FAULT_CHECKS.append(Check(name, look, needs, tasks))
        return look

    return add


@contextlib.contextmanager
def proxied(trial: Trial, **variables: str) -> Iterator[tuple[QuantumResource, list[FaultProxy]]]:
    """A resource whose requests go through proxies, one for each server that its variables name."""
    servers = behind_proxies(trial.values)
    if not servers:
        raise Inconclusive("no variable of this resource holds the address of a server")
    with ExitStack() as stack:
        proxies = {server: stack.enter_context(FaultProxy(server)) for server, _ in servers.values()}
        addresses = {variable: proxies[server].url + rest for variable, (server, rest) in servers.items()}
        yield trial.resource(**addresses, **variables), list(proxies.values())


def next_faults(proxies: list[FaultProxy], *faults: str, method: str = "GET") -> None:
    for proxy in proxies:
        proxy.faults.next_faults = [(method, fault) for fault in faults]


@check("reads-survive", tasks=1)
def reads_survive(trial: Trial) -> None:
    """Reads survive 500, 503, 429, resets and truncated bodies."""
    with proxied(trial) as (resource, proxies):
        task = trial.run(resource)
        task.wait(trial.patience)
        for fault in READ_FAULTS:
            for what, read in (
                ("status of a task", lambda: resource.task_info(task.id)),
                ("result", lambda: resource.task_output(task.id)),
            ):
                next_faults(proxies, fault)
                try:
                    read()
                except QRMIError as error:
                    trial.heard(error)
                    raise Failure(f"the {what} does not survive one {fault}: {error}") from error
                finally:
                    next_faults(proxies)


@check("whole-results", tasks=1)
def whole_results(trial: Trial) -> None:
    """A result that arrives cut off is fetched again, or is an error; never the part that came."""
    with proxied(trial) as (resource, proxies):
        task = trial.run(resource)
        task.wait(trial.patience)
        whole = resource.task_output(task.id)
        next_faults(proxies, "cut_json")
        try:
            data = resource.task_output(task.id)
        except QRMIError as error:
            trial.heard(error)
            return
        finally:
            next_faults(proxies)
        expect(data == whole, f"{len(data)} of {len(whole)} bytes came and were given as the result")


@check("submitted-once", tasks=2)
def submitted_once(trial: Trial) -> None:
    """A submission whose answer was lost is taken once: it is looked up, or told as SubmissionUncertain."""
    with proxied(trial) as (resource, proxies):
        trial.run(resource).wait(trial.patience)  # from now on tokens and sessions are there
        for each in proxies:
            each.posted.clear()
        whole = trial.run(resource)
        proxy = next((each for each in proxies if each.posted), None)
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


@check("silence", tasks=1)
def silence(trial: Trial) -> None:
    """A server that is silent costs the time-out, and then a typed error."""
    limits = {"QRMI_HTTP_READ_TIMEOUT": str(SILENCE), "QRMI_HTTP_DEADLINE": "2"}
    if not any(variable.name in limits for variable in trial.kind.variables):
        raise Inconclusive("this driver has no variable for its time-out (QRMI_HTTP_READ_TIMEOUT)")
    with proxied(trial, **limits) as (resource, proxies):
        task = trial.run(resource)
        task.wait(trial.patience)
        next_faults(proxies, *["hang"] * 20)
        start = time.monotonic()
        try:
            resource.task_info(task.id)
        except QRMIError as error:
            trial.heard(error)
        else:
            raise Inconclusive("the driver answers from memory, without asking the server")
        took = time.monotonic() - start
        next_faults(proxies)
        expect(took <= SILENCE + GRACE, f"a time-out of {SILENCE:g} s was set, and the error came after {took:.1f} s")


@check("unknown-status-word", tasks=1)
def unknown_status_word(trial: Trial) -> None:
    """A status word that the driver does not know ends no task and raises no error."""
    words = getattr(trial.kind, "words", None)
    if not words:
        raise Inconclusive("this driver does not list the vendor's words for a status (`words`)")
    with proxied(trial) as (resource, proxies):
        task = trial.run(resource)
        for proxy in proxies:
            proxy.new_words[:] = list(words)
        try:
            told = resource.task_info(task.id)
        except QRMIError as error:
            trial.heard(error)
            raise Failure(f"a new status word is an error: {error}") from error
        if any(proxy.new_words for proxy in proxies) and len(proxies) == 1:
            raise Inconclusive("no status word was seen in the server's answers")
        expect(not told.status.is_final, f"a new status word ended the task as {told.status.value}")
        for proxy in proxies:
            proxy.new_words.clear()
        ended = task.wait(trial.patience)
        expect(ended.status.is_final, "the task never ended")
