# SPDX-License-Identifier: Apache-2.0
"""Ours and the peers on one emulator in one run: ``python tests/benchmarks [--quick] [--only MEASURE ...]``.

Prints a table, and exits with 1 when a goal is missed. A whole run is written to ``benchmarks/`` with its chart, any
other to ``build/peers/``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from answers import answers
from chart import draw
from counted import emulator
from environment import BUILD, ROOT, peer_python
from report import Row, header, missed, saved, shown
from runner import Measure, measured

HERE = Path(__file__).resolve().parent


def collected(*, quick: bool, only: Sequence[str] = ()) -> list[Measure]:
    """What is to be run, of every ``rows_*.py``; ``only`` those whose names begin so, ``quick`` without the vendors.

    Raises:
        SystemExit: with 2, nothing begins with one of ``only``.
    """
    modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("rows_*.py"))]
    every: list[Measure] = [measure for module in modules for measure in module.measures(quick)]
    chosen = [measure for measure in every if not only or measure.name.startswith(tuple(only))]
    for name in only:
        if not any(measure.name.startswith(name) for measure in every):
            there = ", ".join(measure.name for measure in every)
            print(f"no measure begins with {name!r}; there are: {there}", file=sys.stderr)
            raise SystemExit(2)
    if not quick:
        return chosen
    return [replace(each, runs=tuple(run for run in each.runs if run.who != "vendor")) for each in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few rows and repetitions, no vendors' clients: two minutes"
    )
    parser.add_argument("--only", action="append", default=[], metavar="MEASURE", help="those whose names begin so")
    options = parser.parse_args()
    chosen = collected(quick=options.quick, only=options.only)
    peer_python()
    for python in {run.python for measure in chosen for run in measure.runs if run.python is not None}:
        python()
    begun = time.perf_counter()
    rows = []
    with emulator(answers()) as running:
        print(header(chosen), flush=True)
        for measure in chosen:
            rows.append(Row(measure, measured(measure, running)))
            print(shown(rows[-1]), flush=True)
    whole = not options.quick and not options.only
    directory = ROOT / "benchmarks" if whole else BUILD
    saved(rows, directory / "latest.json", quick=options.quick)
    draw(rows, directory / "chart.svg")
    failures = missed(rows)
    print(f"\n{time.perf_counter() - begun:.0f} s; written to {directory}")
    for failure in failures:
        print(f"MISSED  {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
