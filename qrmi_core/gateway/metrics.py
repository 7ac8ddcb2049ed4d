# SPDX-License-Identifier: Apache-2.0
"""Figures for the site's monitoring, in the form that Prometheus reads: no name of a user and no id is among them.

Counting is a few operations on plain numbers; what makes text of them is imported when somebody asks first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from qrmi_core.gateway.guard import Guard
    from qrmi_core.gateway.service import Gateway

__all__ = ["Gauge", "Metrics", "Snapshot", "metrics_application"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Upper bounds of the classes of latencies; the last ones are for polls that are held and for large bodies."""

BOUNDS = (*map(str, SECONDS), "+Inf")
MOST_VALUES = 100
"""So many programs, outcomes and kinds of errors have figures of their own: clients and vendors name them."""

LONGEST_VALUE = 60
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

_COUNTERS = {
    "tasks_submitted": ("Tasks that a vendor took, by the doors.", ("resource", "program")),
    "tasks_ended": ("Tasks of live leases that were seen to end.", ("resource", "program", "outcome")),
    "device_seconds": ("Seconds that vendors counted for ended tasks.", ("resource", "program")),
    "refusals": ("Requests that the gateway answered with an error itself.", ("door", "status")),
    "vendor_errors": ("Vendors' errors, and requests without an answer.", ("resource", "kind")),
    "journal_changes": ("What was written into the journal.", ()),
    "journal_commits": ("How often the journal was written to the disk; each for all changes that waited.", ()),
}


class Gauge(NamedTuple):
    """What is so at a moment: figures by the values of a label, or (``label`` is empty) one figure."""

    name: str
    text: str
    label: str
    figures: Mapping[str, float]


class _Latencies:
    """A histogram: requests in each class, the last of which has no upper bound, and their seconds together."""

    __slots__ = ("classes", "sum")

    def __init__(self) -> None:
        self.classes = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.classes[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class Metrics:
    """What has happened since the gateway started. Used in one event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, defaultdict[tuple[str, ...], float]] = {name: defaultdict(float) for name in _COUNTERS}
        self._latencies: dict[tuple[str, str, str], _Latencies] = {}
        self._values: dict[str, set[str]] = {}

    def forwarded(self, door: str, method: str, route: str, seconds: float) -> None:
        """A request was answered, by the vendor or in its place; ``route`` is the template of its path."""
        key = (door, method, route)
        if (latencies := self._latencies.get(key)) is None:
            latencies = self._latencies[key] = _Latencies()
        latencies.add(seconds)

    def refused(self, door: str, status: int) -> None:
        """A request was refused; ``door`` is empty where it came to none."""
        self._counts["refusals"][door, str(status)] += 1

    def vendor_error(self, resource: str, kind: str) -> None:
        """A vendor answered with an error, or not at all."""
        self._counts["vendor_errors"][resource, self._few("kind", kind)] += 1

    def submitted(self, resource: str, program: str | None) -> None:
        """A vendor took a task."""
        self._counts["tasks_submitted"][resource, self._few("program", program)] += 1

    def ended(self, resource: str, program: str | None, outcome: str | None, usage: float | None) -> None:
        """A task was seen to end, having used so many seconds of the device."""
        program = self._few("program", program)
        self._counts["tasks_ended"][resource, program, self._few("outcome", outcome)] += 1
        if usage is not None and usage > 0:
            self._counts["device_seconds"][resource, program] += usage

    def _few(self, label: str, value: str | None) -> str:
        """The value, as long as there are not too many of them."""
        value = (value or "")[:LONGEST_VALUE]
        known = self._values.setdefault(label, set())
        if value not in known:
            if len(known) >= MOST_VALUES:
                return OTHER
            known.add(value)
        return value

    def snapshot(self, gauges: Iterable[Gauge], **counted: float) -> Snapshot:
        """The figures as they are at this moment, with these gauges and what others have ``counted``, by name."""
        return Snapshot(
            {name: dict(counts) for name, counts in self._counts.items()}
            | {name: {(): count} for name, count in counted.items()},
            {route: (tuple(each.classes), each.sum) for route, each in self._latencies.items()},
            tuple(gauges),
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Figures that change no more, to be made text of in a thread: that takes a while."""

    counts: Mapping[str, Mapping[tuple[str, ...], float]]
    latencies: Mapping[tuple[str, str, str], tuple[tuple[int, ...], float]]
    gauges: tuple[Gauge, ...]

    def text(self) -> bytes:
        """All of it, and what the process uses, in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """For the registry: nothing is to be collected to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, (text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(f"qrmi_{name}", text, labels=labels)
            for values, count in self.counts[name].items():
                counter.add_metric(values, count)
            yield counter
        text = "Seconds from a request at a door to the end of its answer; polls that are held count with their wait."
        histogram = HistogramMetricFamily("qrmi_door_request_seconds", text, labels=("door", "method", "route"))
        for route, (classes, seconds) in self.latencies.items():
            histogram.add_metric(route, list(zip(BOUNDS, accumulate(map(float, classes)), strict=True)), seconds)
        yield histogram
        for each in self.gauges:
            gauge = GaugeMetricFamily(f"qrmi_{each.name}", each.text, labels=(each.label,) if each.label else ())
            for value, figure in each.figures.items():
                gauge.add_metric((value,) if each.label else (), figure)
            yield gauge


def metrics_application(gateway: Gateway, guard: Guard) -> web.Application:
    """``/metrics``, for anybody who reaches the listener."""

    async def metrics(_: web.Request) -> web.Response:
        journal = gateway.journal
        snapshot = gateway.metrics.snapshot(
            await _gauges(gateway), journal_changes=journal.changes, journal_commits=journal.commits
        )
        return web.Response(body=await gateway.within("loop", snapshot.text), headers={"Content-Type": TEXT_FORMAT})

    application = web.Application(middlewares=[guard.middleware], client_max_size=1)
    application.router.add_get("/metrics", metrics, allow_head=False)
    return application


async def _gauges(gateway: Gateway) -> list[Gauge]:
    known = gateway.resources.resources
    leases = Counter(record.state.value for record in gateway.keeper.live())
    healthy = await gateway.journal_health() == "ok"
    return [
        Gauge("lanes", "Lanes of a resource.", "resource", {name: each.lanes for name, each in known.items()}),
        Gauge("lanes_used", "Lanes that leases hold.", "resource", {name: gateway.keeper.used(name) for name in known}),
        Gauge(
            "queued_tasks",
            "Tasks that wait at the vendor, of all its customers, as far as it tells.",
            "resource",
            {name: gateway.vendors.queue(name) for name in known if gateway.resources.access(name) != "local"},
        ),
        Gauge(
            "out_of_service",
            "1 for a resource that operators or its vendor took out of service.",
            "resource",
            {name: float(gateway.outages.state(name) is not None) for name in known},
        ),
        Gauge("leases", "Leases that hold something.", "state", dict(leases)),
        Gauge("journal_healthy", "1 while the journal can be read.", "", {"": float(healthy)}),
        Gauge(
            "comments_pending",
            "Jobs whose usage waits to be written into Slurm's accounting.",
            "",
            {"": float(gateway.comments.pending if gateway.comments is not None else 0)},
        ),
    ]
