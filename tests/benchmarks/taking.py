# SPDX-License-Identifier: Apache-2.0
"""Programs beside this one that set up what they measure themselves: each a process, run once for all of its rows.

They write a line for each figure. Whatever ends one early is the result of the rows that it had not measured yet.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from figures import Figure

__all__ = ["figures_from", "one_of", "tell"]

LONGEST = 400.0
"""Seconds after which a program is taken to hang."""

ENDING = 60.0
"""Seconds that it then has to end what it started."""


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A type for argparse: one of these words. Its choices cannot be left out where there may be none or several."""

    def checked(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(f"there is no {word!r}; there are: {', '.join(known)}")
        return word

    return checked


def tell(*figures: Figure) -> None:
    """In such a program: these were measured."""
    for figure in figures:
        print(json.dumps(figure.plain()), flush=True)


def figures_from(program: str, *arguments: str) -> Callable[[str], Callable[[], Sequence[Figure]]]:
    """What a file beside this one tells of a measure."""

    def of(measure: str) -> Callable[[], Sequence[Figure]]:
        def taken() -> Sequence[Figure]:
            figures, error = _run(program, arguments)
            found = [figure for figure in figures if figure.measure == measure]
            if any(figure.who == "ours" for figure in found):
                return found
            return [*found, Figure(measure, "ours", (), error=error or f"{program} has not measured it")]

        return taken

    return of


@functools.cache
def _run(program: str, arguments: tuple[str, ...]) -> tuple[tuple[Figure, ...], str | None]:
    """The figures of a program, and what ended it early."""
    with tempfile.TemporaryDirectory(prefix="qrmi-bench-", ignore_cleanup_errors=True) as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip
        try:
            out, errors = process.communicate(timeout=LONGEST)
            error = errors.strip().rpartition("\n")[2][:300] or "failed" if process.returncode else None
        except subprocess.TimeoutExpired:
            out, error = _interrupted(process), f"no end after {LONGEST:g} s"
    return tuple(Figure.of(json.loads(line)) for line in out.splitlines() if line.startswith("{")), error


def _interrupted(process: subprocess.Popen[str]) -> str:
    """What a program has told that hangs; it may end what it started."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=ENDING)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
