# SPDX-License-Identifier: Apache-2.0
"""What was measured, and the goals that it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "WHO", "Check", "Figure", "Figures", "Goal", "Sample", "Verdict", "all_of", "median_at_least", "over_at_most",
    "ratio_at_most", "requests_at_most", "seconds_at_most", "service_at_most", "value_at_least", "value_at_most",
    "worst_at_most",
]  # fmt: skip

WHO = ("floor", "upstream", "vendor", "ours")
"""The least that HTTP allows, upstream's wheel, the vendor's own client, and this project."""


@dataclass(frozen=True)
class Sample:
    """One repetition: wall and processor seconds, requests to the server, bytes of their bodies up and down.

    ``service`` is the seconds that the server's device worked for it; ``values`` is what else was counted.
    """

    seconds: float
    cpu: float = 0.0
    requests: int = 0
    up: int = 0
    down: int = 0
    service: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON, without what was not counted; seconds to the microsecond."""
        kept = {name: value for name, value in asdict(self).items() if value}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in kept.items()}


@dataclass(frozen=True)
class Figure:
    """What one client showed in one measure; ``peak`` is the largest resident memory of its processes in MB."""

    measure: str
    who: str
    samples: tuple[Sample, ...]
    peak: float = 0.0
    error: str | None = None

    def seconds(self) -> float:
        """The median."""
        return statistics.median(sample.seconds for sample in self.samples)

    def percentile(self, percent: float) -> float:
        """The seconds that so many percent of the samples do not exceed."""
        ordered = sorted(sample.seconds for sample in self.samples)
        if not ordered:
            raise ValueError("no samples")
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def requests(self) -> float:
        """The median."""
        return statistics.median(sample.requests for sample in self.samples)

    def value(self, name: str) -> float:
        """The median of a named value."""
        return statistics.median(sample.values[name] for sample in self.samples if name in sample.values)

    def ratio_to(self, other: Figure, *, paired: bool = False) -> float:
        """Of the medians; where both had the same draws, ``paired``: the median of the ratios of each pair."""
        if not paired:
            return self.seconds() / other.seconds()
        pairs = zip(self.samples, other.samples, strict=True)
        return statistics.median(own.seconds / its.seconds for own, its in pairs)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "measure": self.measure,
            "who": self.who,
            "peak": round(self.peak, 1),
            "error": self.error,
            "samples": [sample.plain() for sample in self.samples],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Figure:
        """What :meth:`plain` made."""
        return cls(**{**plain, "samples": tuple(Sample(**{"seconds": 0.0, **each}) for each in plain["samples"])})


Figures = Mapping[str, Figure]
"""The figures of one measure by who it was."""


@dataclass(frozen=True)
class Verdict:
    """Whether a goal is met, and by what."""

    met: bool
    told: str


Check = Callable[[Figures], Verdict]


@dataclass(frozen=True)
class Goal:
    """What a measure must show; ``text`` is how it was set."""

    measure: str
    text: str
    check: Check

    def verdict(self, figures: Figures) -> Verdict:
        """Whether the figures show it; where one lacks or failed, they do not."""
        broken = [f"{each.who}: {each.error}" for each in figures.values() if each.error and each.who == "ours"]
        if broken:
            return Verdict(False, broken[0])
        try:
            return self.check(figures)
        except (ArithmeticError, KeyError, ValueError) as error:
            return Verdict(False, f"nothing to compare with ({error})")


def ratio_at_most(limit: float, peer: str, *, paired: bool = False) -> Check:
    """Our time over that of a peer."""

    def check(figures: Figures) -> Verdict:
        ratio = figures["ours"].ratio_to(figures[peer], paired=paired)
        return Verdict(ratio <= limit, f"{ratio:.2f} x {peer}")

    return check


def over_at_most(limit: float, peer: str, *, percent: float = 50) -> Check:
    """Our seconds beyond those of a peer (an empty interpreter, a request without the gateway): of the medians, or of
    the seconds that so many percent do not exceed."""

    def check(figures: Figures) -> Verdict:
        ours, its = figures["ours"], figures[peer]
        over = ours.seconds() - its.seconds() if percent == 50 else ours.percentile(percent) - its.percentile(percent)
        what = "" if percent == 50 else f" at the p{percent:g}"
        return Verdict(over <= limit, f"{1000 * over:.3g} ms over {peer}{what}")

    return check


def worst_at_most(limit: float) -> Check:
    """Our time in the slowest sample."""

    def check(figures: Figures) -> Verdict:
        worst = max(sample.seconds for sample in figures["ours"].samples)
        return Verdict(worst <= limit, f"{1000 * worst:.3g} ms at worst")

    return check


def service_at_most(ratio: float, *, plus: float = 0.0) -> Check:
    """Our time less ``plus`` seconds, over the time that the device worked for it: the median of all samples."""

    def check(figures: Figures) -> Verdict:
        samples = figures["ours"].samples
        found = statistics.median((each.seconds - plus) / each.service for each in samples if each.service)
        less = f", less {plus:g} s" if plus else ""
        return Verdict(found <= ratio, f"{found:.3f} x service time{less}")

    return check


def seconds_at_most(limit: float) -> Check:
    """Our time."""

    def check(figures: Figures) -> Verdict:
        seconds = figures["ours"].seconds()
        return Verdict(seconds <= limit, f"{seconds:.3g} s")

    return check


def requests_at_most(limit: float) -> Check:
    """Our requests: the median."""

    def check(figures: Figures) -> Verdict:
        requests = figures["ours"].requests()
        return Verdict(requests <= limit, f"{requests:g} requests")

    return check


def value_at_most(name: str, limit: float, *, of: str | None = None) -> Check:
    """A named value of ours, or its ratio to that ``of`` a peer."""

    def check(figures: Figures) -> Verdict:
        value = figures["ours"].value(name)
        if of is None:
            return Verdict(value <= limit, f"{value:.4g} {name}")
        ratio = value / figures[of].value(name)
        return Verdict(ratio <= limit, f"{ratio:.2f} x {of}'s {name}")

    return check


def value_at_least(name: str, limit: float) -> Check:
    """A named value of ours in the worst sample."""

    def check(figures: Figures) -> Verdict:
        value = min(sample.values[name] for sample in figures["ours"].samples)
        return Verdict(value >= limit, f"{value:g} {name}")

    return check


def median_at_least(name: str, limit: float, *, of: str | None = None) -> Check:
    """The median of a named value of ours, or its ratio to that ``of`` a peer."""

    def check(figures: Figures) -> Verdict:
        value = figures["ours"].value(name)
        if of is None:
            return Verdict(value >= limit, f"{value:.0f} {name}")
        ratio = value / figures[of].value(name)
        return Verdict(ratio >= limit, f"{ratio:.2f} x {of}'s {name}")

    return check


def all_of(*checks: Check) -> Check:
    """Every one of them."""

    def check(figures: Figures) -> Verdict:
        verdicts: Sequence[Verdict] = [each(figures) for each in checks]
        return Verdict(all(each.met for each in verdicts), ", ".join(each.told for each in verdicts))

    return check
