# SPDX-License-Identifier: Apache-2.0
"""The chart of the README: bars on a logarithmic scale, readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from figures import WHO
from report import Row

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 970, 370, 80
BAR, SPACE, TOP, BOTTOM = 12, 16, 44, 40
COLOURS = {"floor": "#9aa0a6", "upstream": "#d9822b", "vendor": "#b8683c", "ours": "#2f81d6"}
NAMES = {"floor": "least possible", "upstream": "qrmi 0.26.4", "vendor": "vendor's client", "ours": "this project"}
INK = "#7d8590"


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw the charted measures' medians."""
    charted = [row for row in rows if row.measure.charted and any(each.samples for each in row.figures.values())]
    if not charted:
        return
    medians = [each.seconds() for row in charted for each in row.figures.values() if each.samples]
    least = math.floor(math.log10(min(medians)))
    most = max(least + 1, math.ceil(math.log10(max(medians))))

    def at(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(seconds) - least) / (most - least)

    parts, y = [], float(TOP)
    for row in charted:
        figures = [row.figures[who] for who in WHO if who in row.figures and row.figures[who].samples]
        middle = y + len(figures) * BAR / 2 + 4
        parts.append(_text(LEFT - 10, middle, row.measure.title, anchor="end"))
        for figure in figures:
            seconds = figure.seconds()
            width = max(1.0, at(seconds) - LEFT)
            parts.append(
                f'<rect x="{LEFT}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 2}" rx="1.5" '
                f'fill="{COLOURS[figure.who]}"/>'
            )
            parts.append(_text(LEFT + width + 5, y + BAR - 3, _shown(seconds), size=10))
            y += BAR
        y += SPACE
    grid = [_grid(at(10.0**power), y, 10.0**power) for power in range(least, most + 1)]
    height = y + BOTTOM - SPACE
    keys = []
    present = [who for who in WHO if any(who in row.figures for row in charted)]
    for number, who in enumerate(present):
        x = LEFT + number * 140
        keys.append(f'<rect x="{x}" y="14" width="10" height="10" rx="1.5" fill="{COLOURS[who]}"/>')
        keys.append(_text(x + 15, 23, NAMES[who]))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif" role="img" '
        f'aria-label="Median times of this project and its peers, in seconds, on a logarithmic scale">'
    )
    lines = ["<!-- SPDX-License-Identifier: Apache-2.0 -->", head, *grid, *parts, *keys, "</svg>"]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'


def _grid(x: float, bottom: float, seconds: float) -> str:
    line = f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom - 8:.1f}" stroke="{INK}" stroke-opacity="0.3"/>'
    return line + _text(x, bottom + 8, _shown(seconds), anchor="middle", size=10)


def _shown(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.3g} ms"
