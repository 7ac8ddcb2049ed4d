# SPDX-License-Identifier: Apache-2.0
"""Counts of a Pulser device against the exact probabilities of pulser-simulation in this process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from pulser import Sequence
from pulser.backend import StateResult
from pulser_simulation import QutipBackendV2, QutipConfig
from scipy.stats import chisquare
from significance import ALPHA

__all__ = ["assert_agreement", "random_area"]

FEWEST = 5.0


def random_area() -> tuple[float, int]:
    """A pulse area between 0.5 and 5, and the seed of this run that it was drawn with."""
    seed = random.SystemRandom().randrange(2**32)
    return random.Random(seed).uniform(0.5, 5.0), seed


def assert_agreement(counts: Mapping[str, int], sequence: Sequence[Any], what: object) -> None:
    """The counts are of the distribution that the sequence has (chi-square, rare outcomes taken together)."""
    state = QutipBackendV2(sequence, config=QutipConfig(observables=[StateResult()])).run().final_state
    exact: Mapping[str, float] = state.bitstring_probabilities()
    shots = sum(counts.values())
    expected = {bits: shots * share for bits, share in exact.items()}
    seen, wanted = [], []
    rare = [0.0, 0.0]
    for bits in sorted({*counts, *expected}):
        pair = (counts.get(bits, 0), expected.get(bits, 0.0))
        if pair[1] >= FEWEST:
            seen.append(float(pair[0]))
            wanted.append(pair[1])
        else:
            rare = [rare[0] + pair[0], rare[1] + pair[1]]
    if rare[1] >= FEWEST or not seen:
        seen.append(rare[0])
        wanted.append(rare[1])
    else:
        assert rare[0] <= rare[1] + 10, (what, counts, expected)
    total = sum(wanted) / sum(seen)
    assert len(seen) == 1 or chisquare([each * total for each in seen], wanted).pvalue > ALPHA, (what, counts, expected)
