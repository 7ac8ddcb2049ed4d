# SPDX-License-Identifier: Apache-2.0
"""The engine that runs IQM's circuits: it agrees with exact probabilities, and says what it does not understand."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import random
import subprocess
import sys
from typing import Any

import pytest
from iqm_case import circuit, job, measure, prx
from iqm_programs import RandomProgram
from random_programs import branch_probabilities, chi_square_p
from significance import ALPHA

from qrmi_core import (
    AliceBobFelis,
    InputError,
    IQMServer,
    JobContext,
    LimitExceeded,
    Limits,
    QRMIService,
    ResourceUnavailable,
    TaskFailed,
    UnsupportedPayload,
    Work,
)
from qrmi_qiskit.iqm import engine, program
from qrmi_qiskit.iqm.engine import IQMSimulator
from qrmi_qiskit.iqm.lattice import Lattice
from qrmi_qiskit.iqm.worker import run

SHOTS = 4000
PROGRAMS = 12
LIMITS = Limits(qubits=1000, shots=1_000_000, memory=2 * 2**30, decompressed=2**28, threads=2)
LATTICE = Lattice(4, 5)


def in_worker(body: bytes, *, limits: Limits = LIMITS, seed: int | None = None) -> dict[str, Any]:
    settings = {"QRMI_IQM_LATTICE": "4x5"}
    work = Work("task", "task.1", "iqm_crystal", settings, IQMServer(body, "circuit"), None, seed, limits)
    told: dict[str, Any] = json.loads(run(work))
    return told


def words(measurements: dict[str, list[list[int]]]) -> collections.Counter[str]:
    """The outcomes as Qiskit writes them: the last key in front, in each the last bit in front."""
    shots = zip(*measurements.values(), strict=True)
    return collections.Counter(" ".join("".join(map(str, bits[::-1])) for bits in shot[::-1]) for shot in shots)


@pytest.mark.parametrize("feedback", [pytest.param(False, marks=pytest.mark.slow), True])
def test_random_programs_agree_with_exact_probabilities(feedback: bool) -> None:
    first = random.SystemRandom().randrange(2**32)
    programs = {seed: RandomProgram(seed, LATTICE, feedback=feedback) for seed in range(first, first + PROGRAMS)}
    result = in_worker(job(*(circuit(*each.instructions) for each in programs.values()), shots=SHOTS))
    assert len(result["measurements"]) == len(result["measurement_counts"]) == PROGRAMS
    for (seed, each), measured, counted in zip(
        programs.items(), result["measurements"], result["measurement_counts"], strict=True
    ):
        own = (["middle"] if feedback else []) + list(each.keys)
        assert list(measured) == counted["measurement_keys"] == own
        counts = words(measured)
        assert sum(counts.values()) == SHOTS
        assert chi_square_p(counts, branch_probabilities(each.circuit)) > ALPHA / PROGRAMS, f"seed {seed}"
        joined = collections.Counter(
            "".join(str(bit) for bits in shot for bit in bits) for shot in zip(*measured.values(), strict=True)
        )
        assert joined == counted["counts"]


def test_shots_come_in_no_order() -> None:
    rows = in_worker(job(circuit(prx(1, 1.5707963), measure(1)), shots=200))["measurements"][0]["m"]
    changes = sum(one != other for one, other in itertools.pairwise(rows))
    assert 50 < changes < 150


def test_a_seed_gives_the_same_shots_again() -> None:
    body = job(circuit(prx(1, 1.0), prx(2, 2.0), measure(1, 2)), shots=100)
    assert in_worker(body, seed=5) == in_worker(body, seed=5)
    assert in_worker(body, seed=5) != in_worker(body, seed=6)


def test_a_reset_qubit_is_zero_and_a_delayed_one_as_it_was() -> None:
    reset = {"name": "reset", "locus": ["QB1", "QB2"], "args": {}}
    delay = {"name": "delay", "locus": ["QB3"], "args": {"duration": 1e-6}}
    barrier = {"name": "barrier", "locus": ["QB1", "QB3"], "args": {}}
    body = job(circuit(prx(1), prx(3), reset, barrier, delay, measure(1, 2, 3)))
    assert in_worker(body)["measurement_counts"] == [{"counts": {"001": 5}, "measurement_keys": ["m"]}]


def test_logical_qubits_are_mapped() -> None:
    flip = prx(1)
    flip["locus"] = ["alice"]
    read = measure(1)
    read["locus"] = ["bob", "alice"]
    mapping = [{"logical_name": "alice", "physical_name": "QB7"}, {"logical_name": "bob", "physical_name": "QB2"}]
    measured = in_worker(job(circuit(flip, read), qubit_mapping=mapping))["measurements"]
    assert measured == [{"m": [[0, 1]] * 5}]


def test_heralding_loses_no_shot_where_every_qubit_begins_in_zero() -> None:
    measured = in_worker(job(circuit(prx(1), measure(1)), heralding_mode="zeros"))["measurements"]
    assert measured == [{"m": [[1]] * 5}]


CZ = {"name": "cz", "locus": ["QB1", "QB7"], "args": {}}
CONDITIONAL = {"angle": 1.0, "phase": 0.0, "feedback_key": "f", "feedback_qubit": "QB1"}
REFUSED = {
    "circuit 1 is a QIR string": (job(circuit(measure(1)), "define void @main()"), UnsupportedPayload),
    r"circuit 0, instruction 1 \(move\): no such operation": (
        job(circuit(measure(1), {"name": "move", "locus": ["QB1", "CR1"], "args": {}})),
        InputError,
    ),
    r"instruction 0 \(cz\): QB1 and QB7 are not coupled": (job(circuit(CZ, measure(1))), InputError),
    r"there is no qubit QB21, there are QB1, QB2": (job(circuit(measure(21))), InputError),
    "measures nothing": (job(circuit(prx(1))), InputError),
    "the key 'm' stands for two": (job(circuit(measure(1), measure(2))), InputError),
    "its argument key is None": (job(circuit({"name": "measure", "locus": ["QB1"], "args": {}})), InputError),
    "its argument angle is 'pi'": (
        job(circuit({"name": "prx", "locus": ["QB1"], "args": {"angle": "pi", "phase": 0}}, measure(1))),
        InputError,
    ),
    "it acts on 1 qubit, not 2": (
        job(circuit({"name": "prx", "locus": ["QB1", "QB2"], "args": {"angle": 1, "phase": 0}}, measure(1))),
        InputError,
    ),
    "names a qubit twice": (job(circuit(measure(1, 1))), InputError),
    "no measurement of QB1 before it has the feedback key 'f'": (
        job(circuit({"name": "cc_prx", "locus": ["QB1"], "args": CONDITIONAL}, measure(1))),
        InputError,
    ),
    "its duration is negative": (
        job(circuit({"name": "delay", "locus": ["QB1"], "args": {"duration": -1}}, measure(1))),
        InputError,
    ),
    "there is no calibration set 7": (job(circuit(measure(1)), calibration_set_id="7"), InputError),
    "heralding_mode is 'ones'": (job(circuit(measure(1)), heralding_mode="ones"), InputError),
    "two logical qubits to the same": (job(circuit(measure(1)), qubit_mapping={"a": "QB1", "b": "QB1"}), InputError),
    "the qubit QB1 is not in qubit_mapping": (job(circuit(measure(1)), qubit_mapping={"a": "QB1"}), InputError),
    "this is something else": (job(circuit(measure(1)), qubit_mapping=[1]), InputError),
    "circuit 0 has no .instructions.": (job({"name": "c"}), InputError),
    '{"name", "locus", "args"} was expected': (job({"instructions": [3]}), InputError),
    "its locus is a list of qubits": (job({"instructions": [{"name": "prx", "locus": "QB1"}]}), InputError),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_understood_fails_with_a_reason(text: str) -> None:
    body, kind = REFUSED[text]
    with pytest.raises(kind, match=text):
        in_worker(body)


def test_the_reason_is_that_of_the_failed_task() -> None:
    task = QRMIService().resource("iqm_crystal").submit(IQMServer(job(circuit(CZ, measure(1))), "circuit"))
    with pytest.raises(TaskFailed, match="QB1 and QB7 are not coupled"):
        task.result(timeout=60)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = job(circuit(*(prx(qubit, 1.0) for qubit in (1, 2, 3)), measure(1, 2, 3)))
    with pytest.raises(LimitExceeded, match=r"uses 3 qubits and iqm_crystal allows 2.*QRMI_ENGINE_MAX_QUBITS"):
        in_worker(wide, limits=dataclasses.replace(LIMITS, qubits=2))
    with pytest.raises(LimitExceeded, match=r"1 circuits of 1000000 shots give 11 MB.*QRMI_ENGINE_MEMORY_MB"):
        in_worker(
            job(circuit(measure(1, 2, 3)), shots=1_000_000), limits=dataclasses.replace(LIMITS, memory=32 * 2**20)
        )
    monkeypatch.setattr(program, "MAX_INSTRUCTIONS", 2)
    with pytest.raises(InputError, match="has 4 instructions, 2 are taken"):
        in_worker(wide)


def simulator(**settings: str) -> IQMSimulator:
    block = {"QRMI_IQM_LATTICE": "2x2"} | {f"QRMI_{key}": value for key, value in settings.items()}
    return IQMSimulator.from_environment("mine", block, JobContext())


@pytest.mark.parametrize(
    ("payload", "kind", "code", "text"),
    [
        (AliceBobFelis(b"", b""), UnsupportedPayload, None, "takes IQMServer, not AliceBobFelis"),
        (IQMServer(b"{}", "run"), UnsupportedPayload, "unsupported_job_type", "type circuit, not 'run'"),
        (IQMServer(b"{}", "sweep"), UnsupportedPayload, "unsupported_job_type", "type circuit, not 'sweep'"),
        (IQMServer(b"{}", "circuit", use_timeslot=True), UnsupportedPayload, "no_booked_timeslots", "no timeslots"),
        (IQMServer(b"{", "circuit"), InputError, "invalid_job_payload", "is not JSON"),
        (IQMServer(b"[" * 10**5, "circuit"), InputError, "invalid_job_payload", "is not JSON"),
        (IQMServer(b"[]", "circuit"), InputError, "invalid_job_payload", "not a JSON object"),
        (IQMServer(b"{}", "circuit"), InputError, "invalid_job_payload", 'has no "circuits"'),
        (IQMServer(job(circuit(), shots=0), "circuit"), InputError, "invalid_job_payload", '"shots" is 0'),
        (IQMServer(job(circuit(), shots=True), "circuit"), InputError, "invalid_job_payload", '"shots" is True'),
        (IQMServer(job(circuit(), shots=101), "circuit"), LimitExceeded, "invalid_job_payload", "allows 100"),
        (IQMServer(b" " * 2**20 + b"{}", "circuit"), LimitExceeded, "request_payload_too_large", "MAX_INPUT_MB"),
        (IQMServer(job(*[circuit()] * 4), "circuit"), LimitExceeded, "invalid_job_payload", "takes 3 in a job"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_submitted(
    payload: Any, kind: type[InputError], code: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_CIRCUITS", 3)
    with pytest.raises(kind, match=text) as caught:
        simulator(ENGINE_MAX_SHOTS="100", ENGINE_MAX_INPUT_MB="1").check(payload)
    assert caught.value.code == code


def test_a_lattice_must_have_a_size() -> None:
    for text in ("", "4", "0x3", "100x2", "2x2x2"):
        with pytest.raises(ResourceUnavailable, match=r"mine: QRMI_IQM_LATTICE: .* ROWSxCOLUMNS was expected"):
            simulator(IQM_LATTICE=text)
    with pytest.raises(ResourceUnavailable, match="QRMI_AER_METHOD is 'magic'; Aer has automatic"):
        simulator(AER_METHOD="magic")


def test_the_target_tells_what_a_server_of_iqm_tells() -> None:
    target = simulator().target().json()
    assert list(target) == [
        "calibration_set",
        "dynamic_quantum_architecture",
        "quality_metrics",
        "static_quantum_architecture",
    ]
    (static,) = target["static_quantum_architecture"]
    assert static["qubits"] == ["QB1", "QB2", "QB3", "QB4"]
    assert static["connectivity"] == [["QB1", "QB2"], ["QB1", "QB3"], ["QB2", "QB4"], ["QB3", "QB4"]]
    dynamic = target["dynamic_quantum_architecture"]
    assert dynamic["calibration_set_id"] == target["calibration_set"]["observation_set_id"]
    assert set(dynamic["gates"]) == {"prx", "cz", "measure", "cc_prx"}
    assert "cz" not in simulator(IQM_LATTICE="1x1").target().json()["dynamic_quantum_architecture"]["gates"]


def test_listing_the_engine_loads_no_simulator() -> None:
    code = (
        "import sys; from qrmi_qiskit.iqm.engine import IQMSimulator; assert 'iqm_crystal' in IQMSimulator.embedded();"
        "heavy = {'qiskit', 'qiskit_aer', 'numpy', 'scipy'} & sys.modules.keys(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
