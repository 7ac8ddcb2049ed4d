# SPDX-License-Identifier: Apache-2.0
"""The table that is printed, and the file that keeps every sample."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from environment import PEERS
from figures import Figure, Figures, Verdict
from runner import Measure

__all__ = ["Row", "header", "missed", "saved", "shown"]


MANY = 400
"""So many samples have a 99th percentile worth telling."""

WIDTHS = (3, 9, 9, 9, 8, 8, 8, 8, 5, 8, 7)


class Row:
    """A measure with what was found; ``took`` is how many seconds that lasted."""

    def __init__(self, measure: Measure, figures: Sequence[Figure], took: float = 0.0) -> None:
        self.measure = measure
        self.took = took
        self.figures: Figures = {figure.who: figure for figure in figures}
        self.verdicts: list[tuple[str, Verdict]] = [(goal.text, goal.verdict(self.figures)) for goal in measure.goals]


def missed(rows: Sequence[Row]) -> list[str]:
    """The goals that were not met, in words."""
    return [
        f"{row.measure.title}: {text}: {verdict.told}"
        for row in rows
        for text, verdict in row.verdicts
        if not verdict.met
    ]


def header(rows: Sequence[Measure]) -> str:
    """What one must know to read the table."""
    unpolled = ", ".join(measure.name for measure in rows if measure.min_poll_zero) or "none of these"
    machine = f"{platform.python_version()} on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    names = ("n", "min", "median", "max", "requests", "kB up", "kB down", "CPU s", "MB", "x floor", "x best")
    return f"""\
{machine}; peers: {", ".join(PEERS)}
Seconds: min, median and max of n samples. Requests and bytes of bodies: medians. CPU: median seconds of the client's
process. MB: its largest resident memory. In the gateway's rows both are the gateway's, for each request. Best: the
quickest peer.
Our driver's min_poll is 0 (QRMI_MIN_POLL=0; 0.5 s by default for IBM's and Pasqal's clouds) in: {unpolled}

{"":9} {" ".join(f"{name:>{width}}" for name, width in zip(names, WIDTHS, strict=True))}"""


def shown(row: Row) -> str:
    """The lines of one measure."""
    took = f", {row.took:.0f} s" if row.took >= 1 else ""
    lines = [f"{row.measure.title}  [{row.measure.name}{took}]"]
    lines += [_line(figure, row.figures) for figure in row.figures.values()]
    for text, verdict in row.verdicts:
        lines.append(f"    goal {text}: {'met' if verdict.met else 'MISSED'} ({verdict.told})")
    return "\n".join(lines)


def _line(figure: Figure, figures: Figures) -> str:
    if not figure.samples:
        return f"{figure.who:9} {figure.error}"
    seconds = [sample.seconds for sample in figure.samples]
    sizes = (statistics.median(getattr(each, way) for each in figure.samples) / 1e3 for way in ("up", "down"))
    cpu = statistics.median(sample.cpu for sample in figure.samples)
    peers = [each for who, each in figures.items() if who in {"upstream", "vendor"} and each.samples]
    best = min(peers, key=Figure.seconds, default=None)
    floor = figures.get("floor")
    ratios = [
        f"{figure.ratio_to(other):.2f}" if other is not None and other.samples and other is not figure else ""
        for other in (floor, best)
    ]
    names = sorted({name for sample in figure.samples for name in sample.values})
    more = "".join(f"  {name} {figure.value(name):.4g}" for name in names)
    if len(seconds) >= MANY:
        more = f"  p99 {figure.percentile(99):.4f}{more}"
    error = f"  ({figure.error})" if figure.error else ""
    columns = [
        str(len(seconds)),
        *(f"{each:.4f}" for each in (min(seconds), figure.seconds(), max(seconds))),
        *(_counted(f"{figure.requests():g}"), *(_counted(f"{size:.1f}") for size in sizes)),
        *(_counted(f"{cpu:.4f}"), _counted(f"{figure.peak:.0f}")),
        *ratios,
    ]
    line = " ".join(f"{column:>{width}}" for column, width in zip(columns, WIDTHS, strict=True))
    return f"{figure.who:9} {line}{more}{error}".rstrip()


def _counted(figure: str) -> str:
    """Nothing where nothing was counted."""
    return figure if float(figure) else ""


def saved(rows: Sequence[Row], file: Path, *, quick: bool) -> None:
    """Write every sample, and what machine it was."""
    document: dict[str, Any] = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()},
        "peers": PEERS,
        "measures": [
            {
                "name": row.measure.name,
                "title": row.measure.title,
                "min_poll_zero": row.measure.min_poll_zero,
                "took": round(row.took, 1),
                "figures": [figure.plain() for figure in row.figures.values()],
                "goals": [{"text": text, "met": each.met, "told": each.told} for text, each in row.verdicts],
            }
            for row in rows
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
