# SPDX-License-Identifier: Apache-2.0
"""The engine that runs QIR: it agrees with the circuits' exact probabilities, and says what it does not understand."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import sys
from subprocess import run as run_program

import pytest
from felis_case import qir, qubit, result
from felis_programs import RandomProgram
from random_programs import branch_probabilities, chi_square_p
from significance import ALPHA

from qrmi_core import (
    AliceBobFelis,
    InputError,
    JobContext,
    LimitExceeded,
    Limits,
    QiskitPrimitive,
    QRMIService,
    ResourceUnavailable,
    TaskFailed,
    UnsupportedPayload,
    Work,
)
from qrmi_qiskit.felis.engine import FelisSimulator
from qrmi_qiskit.felis.instructions import INSTRUCTIONS
from qrmi_qiskit.felis.worker import run

SHOTS = 4000
PROGRAMS = 25
LIMITS = Limits(qubits=1000, shots=1_000_000, memory=2 * 2**30, decompressed=2**28, threads=2)


def counts(program: bytes, *, shots: int = 1, limits: Limits = LIMITS, seed: int | None = None) -> dict[str, int]:
    payload = AliceBobFelis(program, json.dumps({"nbShots": shots}).encode())
    text = run(Work("task", "task.1", "felis_ideal", {}, payload, None, seed, limits)).decode()
    return {bits: int(count) for bits, count in (line.split(",") for line in text.splitlines())}


@pytest.mark.parametrize("choices", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_random_programs_agree_with_exact_probabilities(choices: int) -> None:
    first = random.SystemRandom().randrange(2**32)
    for seed in range(first, first + PROGRAMS):
        program = RandomProgram(seed, choices=choices)
        exact: dict[str, float] = {}
        for word, probability in branch_probabilities(program.circuit).items():
            outcome = word.split()[-1]
            exact[outcome] = exact.get(outcome, 0.0) + probability
        measured = counts(program.text, shots=SHOTS)
        assert sum(measured.values()) == SHOTS
        assert chi_square_p(measured, exact) > ALPHA / PROGRAMS / 2, f"seed {seed}:\n{program.text.decode()}"


@pytest.mark.parametrize(
    ("name", "argument", "measured", "outcome"),
    [
        ("prepare_z", "false", "mz", "0"),
        ("prepare_z", "true", "mz", "1"),
        ("prepare_x", "false", "mx", "0"),
        ("prepare_x", "true", "mx", "1"),
        ("prepare_y", "false", "my", "0"),
        ("prepare_y", "true", "my", "1"),
    ],
)
def test_what_is_prepared_is_measured_twice(name: str, argument: str, measured: str, outcome: str) -> None:
    program = qir(
        f"prepare_{name[-1]}__body i1 {argument}, {qubit(3)}",
        f"delay__body double 1.500000e+00, {qubit(3)}",
        f"{measured}__body {qubit(3)}, {result(0)}",
        f"{measured}__body {qubit(3)}, {result(1)}",
        results=2,
    )
    assert counts(program, shots=50) == {outcome * 2: 50}


def test_outcomes_show_results_in_the_order_of_their_recording() -> None:
    flipped = [f"x__body {qubit(0)}", f"mz__body {qubit(0)}, {result(0)}", f"mz__body {qubit(1)}, {result(2)}"]
    assert counts(qir(*flipped, results=3)) == {"001": 1}
    record = "  call void @__quantum__rt__result_record_output"
    recorded = [
        "  call void @__quantum__rt__array_record_output(i64 2, i8* null)",
        f"{record}({result(0)}, i8* null)",
        f"{record}({result(2)}, i8* null)",
        "  ret void",
    ]
    backwards = qir(*flipped, results=0).replace(b"  ret void", "\n".join(recorded).encode())
    assert counts(backwards) == {"10": 1}
    assert counts(qir(*flipped, results=0)) == {"01": 1}


def test_a_result_that_is_never_measured_is_0() -> None:
    assert counts(qir(f"x__body {qubit(0)}", results=2), shots=7) == {"00": 7}


def test_a_seed_makes_outcomes_reproducible() -> None:
    coins = [f"h__body {qubit(index)}" for index in range(10)]
    looks = [f"mz__body {qubit(index)}, {result(index)}" for index in range(10)]
    program = qir(*coins, *looks, results=10)
    assert counts(program, shots=100, seed=5) == counts(program, shots=100, seed=5)
    assert counts(program, shots=100, seed=5) != counts(program, shots=100, seed=6)


def within(*lines: str) -> bytes:
    """A program whose lines begin with number 6."""
    return qir(results=0).replace(b"entry:\n", "\n".join(["entry:", *lines, ""]).encode())


def call(name: str, *arguments: str) -> str:
    return f"  call void @__quantum__{name}__body({', '.join(arguments)})"


RECORD = "  call void @__quantum__rt__result_record_output(%Result* null, i8* null)"
READ = "  %0 = call i1 @__quantum__qis__read_result__body(%Result* null)"
BRANCH = "  br i1 %0, label %then, label %after"
MEASURE = call("qis__mz", qubit(0), result(0))
H = call("qis__h", qubit(0))
NOT_A_NUMBER = "double 0x7FF8000000000000"
TWICE = "line 6: __quantum__qis__cnot__body is given a qubit twice: qubits 0, 0"
NEAR = r"line 6: __quantum__qis__hh__body is no function of this target; did you mean __quantum__qis__h__body\?"

REFUSED = {
    "unknown function": ([call("qis__hh", qubit(0))], NEAR),
    "no function of QIR": (["  call void @printf(i8* null)"], "line 6: printf is no function of this target"),
    "too many arguments": (
        [call("qis__h", qubit(0), qubit(0))],
        r"line 6: __quantum__qis__h__body takes qubit; found %Qubit\* null, %Qubit\* null",
    ),
    "too few arguments": ([call("qis__h")], "line 6: __quantum__qis__h__body takes qubit; found nothing"),
    "a result for a qubit": ([call("qis__h", result(0))], r"takes qubit; found %Result\* null"),
    "an angle that is computed": ([call("qis__rx", "double %a", qubit(0))], "takes double, qubit; found double %a"),
    "an angle that is no number": (
        [call("qis__rx", NOT_A_NUMBER, qubit(0))],
        "line 6: __quantum__qis__rx__body is given 0x7FF8000000000000, which is no finite number",
    ),
    "a negative time": (
        [call("qis__delay", "double -1.000000e+00", qubit(0)), MEASURE],
        "line 6: __quantum__qis__delay__body is given a negative time",
    ),
    "a qubit twice": ([call("qis__cnot", qubit(0), qubit(0))], TWICE),
    "a qubit that is not there": (
        [call("qis__mz", qubit(30), result(0))],
        "line 6: __quantum__qis__mz__body acts on qubit 30, and the target has 30 qubits",
    ),
    "a wrong return type": (
        [H.replace("void", "i1")],
        "line 6: __quantum__qis__h__body returns void, not i1",
    ),
    "arithmetic": (
        ["  %1 = add i64 1, 2"],
        "line 6: %1 = add i64 1, 2 is not understood: calls, branches on results and ret are",
    ),
    "a branch on nothing read": ([BRANCH], "line 6: %0 is no result that was read in the same block"),
    "a branch on an overwritten result": (
        [READ, MEASURE, BRANCH],
        "line 8: %0 is no result that was read in the same block",
    ),
    "a loop": (
        ["  br label %a", "a:", "  br label %a", "b:"],
        "line 7: the block a goes back to the block a: loops are not taken",
    ),
    "a block that is not there": (
        ["  br label %a", "b:"],
        "line 5: the block entry goes on in the block a, which is not there",
    ),
    "two blocks of a name": (["  br label %a", "a:", "  br label %b", "a:"], "line 9: there are two blocks a"),
    "code after the end of a block": (["  br label %a", H, "a:"], r"line 7: .* follows the end of its block"),
    "a block that does not end": ([H, "a:"], "line 7: the block before a: does not end with ret or br"),
    "recording in a choice": (
        [READ, BRANCH, "then:", RECORD, "  br label %after", "after:"],
        "line 8: the block then records output, and only some shots come there",
    ),
    "measuring what was recorded": (
        [RECORD, MEASURE],
        "line 7: __quantum__qis__mz__body measures result 0 after it was recorded",
    ),
    "nothing measured": ([H], "the program measures and records nothing"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_understood_is_refused_with_its_line(fault: str) -> None:
    lines, said = REFUSED[fault]
    with pytest.raises(InputError, match=said) as caught:
        counts(within(*lines))
    assert caught.value.code in {"InvalidProgram", "OperationNotSupported"}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"", "the program defines no function: LLVM text of QIR was expected"),
        (b"\xff", r"the program is not UTF-8 text \(byte 0\)"),
        (b"OPENQASM 3.0;", "line 1: OPENQASM 3.0; is not understood"),
        (b"define void @f(i64 %x) {\n", r"line 1: the function has parameters \(i64 %x\)"),
        (
            b"define void @f() {\n ret void\n}\ndefine void @g() {\n ret void\n}\n",
            "line 4: a second function is defined",
        ),
        (b"define void @f() {\n", "line 2: the program ends within its function: it was cut off"),
        (b"define void @f() {\n}\n", "line 2: the function's last block does not end with ret or br"),
        (b"BC\xc0\xde", "the program is not UTF-8 text"),
    ],
)
def test_what_is_no_program_is_refused(program: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        counts(program)


def test_choices_may_lie_in_choices_and_have_one_side() -> None:
    """Two bits decide, as the vendor's translator writes a condition on a register of two."""
    body = [
        "  br i1 %0, label %one, label %not",
        "one:",
        "  %1 = call i1 @__quantum__qis__read_result__body(%Result* inttoptr (i64 1 to %Result*))",
        "  br i1 %1, label %both, label %after",
        "both:",
        f"  call void @__quantum__qis__x__body({qubit(2)})",
        "  br label %after",
        "after:",
        "  br label %end",
        "not:",
        "  br label %end",
        "end:",
        f"  call void @__quantum__qis__mz__body({qubit(2)}, {result(2)})",
        "  ret void",
    ]

    def outcome(one: str, two: str) -> dict[str, int]:
        prepared = [f"prepare_z__body i1 {one}, {qubit(0)}", f"prepare_z__body i1 {two}, {qubit(1)}"]
        looked = [f"mz__body {qubit(0)}, {result(0)}", f"mz__body {qubit(1)}, {result(1)}"]
        text = qir(*prepared, *looked, results=0).decode()
        return counts(text.replace("  ret void", "\n".join([READ, *body])).encode())

    assert outcome("true", "true") == {"111": 1}
    assert outcome("true", "false") == {"001": 1}
    assert outcome("false", "true") == {"010": 1}


def test_choices_that_overlap_are_refused() -> None:
    lines = [
        READ,
        "  br i1 %0, label %a, label %b",
        "a:",
        READ.replace("%0", "%1"),
        "  br i1 %1, label %b, label %c",
        "b:",
        "  br label %c",
        "c:",
    ]
    text = qir(f"mz__body {qubit(0)}, {result(0)}", results=0).decode()
    with pytest.raises(InputError, match="the block b is reached in several ways that do not meet before it"):
        counts(text.replace("  ret void", "\n".join([*lines, "  ret void"])).encode())


def test_a_long_program_is_read_in_linear_time() -> None:
    """A million characters in one line, and many lines: neither takes longer than the test's time-out."""
    with pytest.raises(InputError, match=r"line 6: .* is not understood"):
        counts(within("  call void @f" + "(" * 1_000_000))
    with pytest.raises(InputError, match=r"line 6: .* takes qubit"):
        counts(within(call("qis__h", "()" * 500_000)))
    flips = [f"x__body {qubit(index % 3)}" for index in range(20_001)]
    looks = [f"mz__body {qubit(index)}, {result(index)}" for index in range(3)]
    assert counts(qir(*flips, *looks, results=3)) == {"111": 1}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (b'{"nbShots": 0}', r"nbShots is 0: it must be in the range \[1, 1000000\]"),
        (b'{"nbShots": 1000001}', r"nbShots is 1000001: it must be in the range"),
        (b'{"nbShots": "many"}', 'nbShots is "many": a whole number was expected'),
        (b'{"nbShots": true}', "nbShots is true: a whole number was expected"),
        (b'{"averageNbPhotons": 4.0}', "input_params has averageNbPhotons; this target takes nbShots"),
        (b"[]", "input_params is no JSON object"),
        (b"{", "input_params is not JSON"),
    ],
)
def test_parameters_are_checked_before_anything_is_submitted(parameters: bytes, said: str) -> None:
    resource = QRMIService().resource("felis_ideal")
    with pytest.raises(InputError, match=said):
        resource.submit(AliceBobFelis(qir(results=1), parameters))


def test_limits() -> None:
    def resource(**settings: str) -> FelisSimulator:
        return FelisSimulator.from_environment("small", settings, JobContext())

    megabyte = AliceBobFelis(b" " * (2**20 + 1), b'{"nbShots": 1}')
    with pytest.raises(LimitExceeded, match="the program has 1048577 bytes and small takes 1048576"):
        resource(QRMI_ENGINE_MAX_INPUT_MB="1").check(megabyte)
    with pytest.raises(ResourceUnavailable, match="small: QRMI_AER_METHOD is 'guess'; Aer has automatic, "):
        resource(QRMI_AER_METHOD="guess")
    small = resource(QRMI_ENGINE_MAX_QUBITS="5", QRMI_ENGINE_MAX_SHOTS="100").target().json()
    assert (small["name"], small["numQubits"]) == ("EMU:5Q:IDEAL", 5)
    assert small["inputParams"]["nbShots"]["constraints"] == [{"min": 1, "max": 100}]
    with pytest.raises(UnsupportedPayload, match=r"small \(felis-simulator\) takes AliceBobFelis, not QiskitPrimitive"):
        resource().submit(QiskitPrimitive("sampler", b"{}"))
    many = qir(f"mz__body {qubit(0)}, {result(0)}", results=1000)
    with pytest.raises(LimitExceeded, match="1000000 shots of 1000 bits may give 953 MB of outcomes"):
        counts(many, shots=1_000_000)
    wide = qir(*(f"h__body {qubit(index)}" for index in range(6)), results=1)
    with pytest.raises(InputError, match="acts on qubit 5, and the target has 5 qubits"):
        counts(wide, limits=dataclasses.replace(LIMITS, qubits=5))


def test_a_failed_task_says_why() -> None:
    task = QRMIService().resource("felis_ideal").submit(AliceBobFelis(b"nothing", b'{"nbShots": 1}'))
    with pytest.raises(TaskFailed, match=r"failed \(code InvalidProgram\): line 1: nothing is not understood"):
        task.result(timeout=60)


def test_the_target_is_an_entry_of_the_vendors_list() -> None:
    target = QRMIService().resource("felis_ideal").target().json()
    assert target["name"] == "EMU:30Q:IDEAL"
    assert target["inputParams"] == {
        "nbShots": {"required": True, "type": "int", "default": 1000, "constraints": [{"min": 1, "max": 1_000_000}]}
    }
    signatures = [instruction["signature"] for instruction in target["instructions"]]
    assert "__quantum__qis__h__body:void (%Qubit*)" in signatures
    assert "__quantum__qis__prepare_x__body:void (i1, %Qubit*)" in signatures
    assert "__quantum__qis__read_result__body:i1 (%Result*)" in signatures
    assert "__quantum__qis__delay__body:void (double, %Qubit*)" in signatures
    form = re.compile(r"__quantum__qis__\w+__(body|adj):(void|i1) \((?:[^(),]+(?:, [^(),]+)*)?\)")
    assert all(form.fullmatch(signature) for signature in signatures)
    assert {signature.split(":")[0] for signature in signatures} == INSTRUCTIONS.keys()


def test_finding_the_engine_loads_no_framework() -> None:
    code = "import sys, qrmi_qiskit.felis.engine; assert not {'qiskit', 'numpy'} & sys.modules.keys()"
    run_program([sys.executable, "-c", code], check=True, timeout=60)
