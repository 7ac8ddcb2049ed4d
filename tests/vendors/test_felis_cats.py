# SPDX-License-Identifier: Apache-2.0
"""The engine's noisy cat qubits: errors as often as the stated rates say, and only a cat's own instructions."""

from __future__ import annotations

import json
import math
import random

import pytest
from felis_case import qir, qubit, result
from scipy.stats import binomtest
from significance import ALPHA

from qrmi_core import AliceBobFelis, InputError, JobContext, Limits, QRMIService, ResourceUnavailable, Work
from qrmi_qiskit.felis.engine import FelisSimulator
from qrmi_qiskit.felis.worker import run

SHOTS = 20_000
LIMITS = Limits(qubits=1000, shots=1_000_000, memory=2 * 2**30, decompressed=2**28, threads=2)


class Cat:
    """Parameters drawn anew, and the rates that follow from them."""

    def __init__(self) -> None:
        self.seed = random.SystemRandom().randrange(2**32)
        chance = random.Random(self.seed)
        self.photons = chance.uniform(1.0, 2.0)
        self.kappa1 = chance.uniform(1e3, 1e4)
        self.kappa2 = chance.uniform(1e5, 1e6)
        self.delay = chance.uniform(5.0, 100.0)

    def flips(self, rate: float, steps: int, *, also: float = 0.0) -> float:
        """The probability of an odd number of flips in some steps and the delay; ``also`` is one more chance."""
        seconds = steps / self.kappa2 + self.delay * 1e-6
        return (1 - math.exp(-2 * rate * seconds) * (1 - 2 * also)) / 2

    @property
    def phase_rate(self) -> float:
        return self.photons * self.kappa1

    @property
    def bit_rate(self) -> float:
        return self.phase_rate * math.exp(-2 * self.photons)

    @property
    def wait(self) -> str:
        return f"delay__body double {self.delay:.6e}, {qubit(0)}"

    def counts(self, *calls: str, results: int = 1) -> dict[str, int]:
        parameters = {
            "nbShots": SHOTS,
            "averageNbPhotons": self.photons,
            "kappa1": self.kappa1,
            "kappa2": self.kappa2,
        }
        payload = AliceBobFelis(qir(*calls, results=results), json.dumps(parameters).encode())
        work = Work("task", "task.1", "felis_cats", {"QRMI_FELIS_MODEL": "cats"}, payload, None, None, LIMITS)
        lines = run(work).decode().splitlines()
        return {bits: int(count) for bits, count in (line.split(",") for line in lines)}

    def agrees(self, seen: int, probability: float) -> None:
        p_value = binomtest(seen, SHOTS, probability).pvalue
        assert p_value > ALPHA, f"seed {self.seed}: {seen} of {SHOTS}, {probability} expected"


def test_phases_flip_at_their_rate() -> None:
    cat = Cat()
    counts = cat.counts(f"prepare_x__body i1 false, {qubit(0)}", cat.wait, f"mx__body {qubit(0)}, {result(0)}")
    cat.agrees(counts.get("1", 0), cat.flips(cat.phase_rate, 2))


@pytest.mark.parametrize("bit", [False, True])
def test_bits_flip_at_theirs(bit: bool) -> None:
    cat = Cat()
    prepared = f"prepare_z__body i1 {str(bit).lower()}, {qubit(0)}"
    counts = cat.counts(prepared, cat.wait, f"x__body {qubit(0)}", f"mz__body {qubit(0)}, {result(0)}")
    cat.agrees(counts.get(str(int(bit)), 0), cat.flips(cat.bit_rate, 3))


def test_a_cx_flips_the_phase_of_its_control() -> None:
    """A phase flip of the target before the gate reaches the control too."""
    cat = Cat()
    counts = cat.counts(
        f"prepare_x__body i1 false, {qubit(0)}",
        f"prepare_x__body i1 false, {qubit(1)}",
        cat.wait,
        f"cnot__body {qubit(0)}, {qubit(1)}",
        f"mx__body {qubit(0)}, {result(0)}",
    )
    also = math.pi**2 / (64 * cat.photons)
    cat.agrees(counts.get("1", 0), cat.flips(cat.phase_rate, 4, also=also))


def test_a_target_of_its_own() -> None:
    resource = QRMIService().resource("felis_cats")
    target = resource.target().json()
    assert (target["name"], target["numQubits"]) == ("EMU:6Q:NOISY_CATS", 6)
    names = {instruction["signature"].split(":")[0] for instruction in target["instructions"]}
    assert "__quantum__qis__h__body" not in names
    assert {"__quantum__qis__cx__body", "__quantum__qis__mx__body", "__quantum__qis__prepare_x__body"} < names
    assert set(target["inputParams"]) == {"nbShots", "averageNbPhotons", "kappa1", "kappa2"}
    with pytest.raises(InputError, match=r"averageNbPhotons is 0.5: it must be in the range \[1.0, 30.0\]"):
        resource.submit(AliceBobFelis(b"", b'{"nbShots": 1, "averageNbPhotons": 0.5}'))
    with pytest.raises(InputError, match="kappa1 is null: a number was expected"):
        resource.submit(AliceBobFelis(b"", b'{"kappa1": null}'))


def test_other_gates_are_refused() -> None:
    with pytest.raises(InputError, match="line 6: __quantum__qis__h__body is no function of this target"):
        Cat().counts(f"h__body {qubit(0)}", f"mz__body {qubit(0)}, {result(0)}")


def test_an_unknown_model() -> None:
    with pytest.raises(ResourceUnavailable, match="cats: QRMI_FELIS_MODEL is 'dogs'; there are ideal, cats"):
        FelisSimulator.from_environment("cats", {"QRMI_FELIS_MODEL": "dogs"}, JobContext())
