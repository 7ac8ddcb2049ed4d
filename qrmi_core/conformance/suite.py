# SPDX-License-Identifier: Apache-2.0
"""The whole suite: every check in its order, and what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qrmi_core.conformance.checks import CHECKS, Check
from qrmi_core.conformance.trial import Failure, Inconclusive, Trial
from qrmi_core.errors import InputError
from qrmi_core.resource import JobContext, QuantumResource

__all__ = ["Outcome", "Suite", "all_checks"]

Verdict = Literal["passed", "failed", "inconclusive", "not run"]


@dataclass(frozen=True)
class Outcome:
    """What came of a check; ``text`` says why, unless it passed."""

    check: str
    verdict: Verdict
    text: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"check": self.check, "verdict": self.verdict, "text": self.text}


def all_checks(*, faults: bool) -> list[Check]:
    """The checks in their order; those with ``faults`` need the extra ``gateway``."""
    if not faults:
        return list(CHECKS)
    from qrmi_core.conformance.fault_checks import FAULT_CHECKS  # needs aiohttp

    return [*CHECKS, *FAULT_CHECKS]


def _chosen(checks: list[Check], only: Collection[str], *, faults: bool) -> list[Check]:
    by_name = {check.name: check for check in checks}
    if unknown := sorted(set(only) - set(by_name)):
        left_out = "" if faults else "; those of the way to the server are left out here"
        raise InputError(f"there is no check {', '.join(unknown)}; there are {', '.join(by_name)}{left_out}")
    wanted: set[str] = set()
    missing = list(only or by_name)
    while missing:
        name = missing.pop()
        wanted.add(name)
        missing += by_name[name].needs
    return [check for check in checks if check.name in wanted]


class Suite:
    """All checks of one driver, made from its class and its environment block."""

    def __init__(
        self,
        kind: type[QuantumResource],
        name: str,
        values: Mapping[str, str],
        *,
        context: JobContext | None = None,
        shots: int = 100,
        patience: float = 300.0,
        faults: bool = True,
        only: Collection[str] = (),
    ) -> None:
        """Prepare the suite; nothing is run yet.

        Args:
            kind: the driver.
            name: the resource's name.
            values: its environment block.
            context: the job that it runs in.
            shots: of each small task.
            patience: seconds to wait for a task.
            faults: also try the way to the server.
            only: run these checks alone, with those that they need; by default all.

        Raises:
            InputError: there is no check of that name; says which there are.
        """
        self.checks = _chosen(all_checks(faults=faults), only, faults=faults)
        self._trial = Trial(kind, name, values, context or JobContext(), shots, patience)

    @property
    def most_shots(self) -> int:
        """How many shots the device runs at most."""
        return sum(check.tasks for check in self.checks) * self._trial.shots + self._trial.shots

    def run(self, told: Callable[[Outcome], None] = lambda _: None) -> Sequence[Outcome]:
        """Run every check; ``told`` hears of each outcome as it comes."""
        verdicts: dict[str, Verdict] = {}
        outcomes = []
        with self._trial.listening(), self._acquired():
            for check in self.checks:
                outcome = self._one(check, verdicts)
                verdicts[check.name] = outcome.verdict
                outcomes.append(outcome)
                told(outcome)
        outcomes.append(self._secrets())
        told(outcomes[-1])
        return outcomes

    @contextlib.contextmanager
    def _acquired(self) -> Iterator[None]:
        """The resource acquired for the tasks; whether that works is a check of its own."""
        trial = self._trial
        holder = None  # kept: an engine is held by the object that acquired it
        try:
            holder = trial.resource()
            trial.token = holder.acquire()
        except Exception as error:  # noqa: BLE001  whatever a driver raises is told by the check
            trial.heard(error)
        try:
            yield
        finally:
            if trial.token is not None and holder is not None:
                try:
                    holder.release(trial.token)
                except Exception as error:  # noqa: BLE001  see above
                    trial.heard(error)

    def _one(self, check: Check, verdicts: Mapping[str, Verdict]) -> Outcome:
        if missing := [need for need in check.needs if verdicts.get(need) in {"failed", "not run"}]:
            return Outcome(check.name, "not run", f"it tells nothing without {' and '.join(missing)}")
        try:
            check.look(self._trial)
        except Failure as failure:
            return Outcome(check.name, "failed", f"{check.demand} But {failure}")
        except Inconclusive as why:
            return Outcome(check.name, "inconclusive", str(why))
        except Exception as error:  # noqa: BLE001  whatever a driver raises is told
            self._trial.heard(error)
            return Outcome(check.name, "failed", f"{check.demand} But {type(error).__name__} was raised: {error}")
        return Outcome(check.name, "passed")

    def _secrets(self) -> Outcome:
        kind = self._trial.kind
        names = [variable.name for variable in kind.variables if variable.secret]
        secrets = {name: self._trial.values[name] for name in names if len(self._trial.values.get(name, "")) > 3}
        for name, secret in secrets.items():
            for text in self._trial.said:
                if secret in text:
                    shown = text.replace(secret, "***")
                    return Outcome("secrets", "failed", f"No secret stands in any text. But {name} stands in: {shown}")
        return Outcome("secrets", "passed")
