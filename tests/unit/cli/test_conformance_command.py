# SPDX-License-Identifier: Apache-2.0
"""`qrmi conformance`: it says what it costs, asks, and tells what came of each check."""

from __future__ import annotations

import json
import subprocess

import pytest
from cli_site import QRMI

ONE = ["aer_ideal", "--shots", "10", "--check", "waiting"]


def conformance(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [QRMI, "conformance", *arguments], input=answer, capture_output=True, text=True, timeout=100, check=False
    )


def test_it_says_what_it_costs_and_asks_first() -> None:
    done = conformance(*ONE, answer="n\n")
    assert done.returncode == 1
    assert "3 checks, which run at most 20 shots on the device" in done.stderr
    assert done.stdout.strip() == ""


def test_it_tells_what_came_of_each_check() -> None:
    done = conformance(*ONE, "--json", "--yes")
    assert done.returncode == 0, done.stderr
    told = {outcome["check"]: outcome["verdict"] for outcome in json.loads(done.stdout)}
    assert told == {"target": "passed", "waiting": "passed", "secrets": "passed"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["aer_ideal", "--check", "speed", "--yes"], "there is no check speed; there are constructor, "),
        (["nobody", "--yes"], "has no QPU named nobody"),
    ],
)
def test_what_it_does_not_take(arguments: list[str], text: str) -> None:
    done = conformance(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
