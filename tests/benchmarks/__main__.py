# SPDX-License-Identifier: Apache-2.0
"""All that is measured, in one run and one table: ``python tests/benchmarks [--quick] [--only MEASURE ...]``.

Ours and the peers meet on one emulator; the gateway, Slurm, simulators and the other vendors' servers are started for
their own rows. Exits with 1 when a goal is missed. A whole run is written to ``benchmarks/`` with its chart, any other
to ``build/peers/``.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from answers import answers
from chart import draw
from counted import emulator
from environment import BUILD, ROOT, peer_python
from report import Row, header, missed, saved, shown
from rows import collected
from runner import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few rows and repetitions, no vendors' clients, no Slurm: two minutes"
    )
    parser.add_argument("--only", action="append", default=[], metavar="MEASURE", help="those whose names begin so")
    options = parser.parse_args()
    chosen = collected(quick=options.quick, only=options.only)
    runs = [run for measure in chosen for run in measure.runs]
    if any(run.who in {"upstream", "vendor"} for run in runs):
        peer_python()
    for python in {run.python for run in runs if run.python is not None}:
        python()
    begun = time.perf_counter()
    rows = []
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(emulator(answers())) if runs else None
        print(header(chosen), flush=True)
        for measure in chosen:
            since = time.perf_counter()
            figures = measured(measure, running)
            rows.append(Row(measure, figures, time.perf_counter() - since))
            print(shown(rows[-1]), flush=True)
    whole = not options.quick and not options.only
    directory = ROOT / "benchmarks" if whole else BUILD
    saved(rows, directory / "latest.json", quick=options.quick)
    draw(rows, directory / "chart.svg")
    failures = missed(rows)
    goals = sum(len(row.verdicts) for row in rows)
    print(
        f"\n{time.perf_counter() - begun:.0f} s; {goals - len(failures)} of {goals} goals met; written to {directory}"
    )
    for failure in failures:
        print(f"MISSED  {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
