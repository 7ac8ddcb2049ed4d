# SPDX-License-Identifier: Apache-2.0
"""Which measures there are: those of every ``rows_*.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner import Measure

__all__ = ["collected"]

HERE = Path(__file__).resolve().parent


def collected(*, quick: bool, only: Sequence[str] = ()) -> list[Measure]:
    """What is to be run; ``only`` those whose names begin so, ``quick`` without the vendors' clients.

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
