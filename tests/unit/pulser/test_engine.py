# SPDX-License-Identifier: Apache-2.0
"""The engine as a resource: what it says of itself, what it refuses, its limits and its seeds."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pulser.devices
import pytest
from pulser import NoiseModel, Pulse, Sequence
from pulser.backend import BitStrings, EmulationConfig, Occupation
from pulser.devices import AnalogDevice, Device, MockDevice
from pulser_programs import SEED, engine, parametrised, rabi, register

from qrmi_core import (
    InputError,
    JobContext,
    LimitExceeded,
    Limits,
    PulserBatch,
    PulserJob,
    QiskitPrimitive,
    QRMIService,
    ResourceStatusCode,
    ResourceUnavailable,
    TaskFailed,
    TaskStatus,
    UnsupportedPayload,
    Work,
)
from qrmi_pulser import worker
from qrmi_pulser.device_json import BUILT_IN
from qrmi_pulser.engine import PulserSimulator
from qrmi_pulser.estimate import check_size, memory_needed

LIMITS = Limits(qubits=100, shots=10_000, memory=2**32, decompressed=2**20, threads=1)


def text(sequence: Sequence[Any]) -> bytes:
    return sequence.to_abstract_repr().encode()


def batch(sequence: Sequence[Any] | bytes | None = None, *jobs: PulserJob, **fields: Any) -> PulserBatch:
    sequence = rabi() if sequence is None else sequence
    data = sequence if isinstance(sequence, bytes) else text(sequence)
    return PulserBatch(data, jobs or (PulserJob(10),), **fields)


def configuration(**options: Any) -> bytes:
    return EmulationConfig(**{"observables": [BitStrings()], **options}).to_abstract_repr().encode()


def outcome(payload: PulserBatch, seed: int | None = 5, place: int = 1, limits: Limits = LIMITS) -> Any:
    """Run the first job in this process."""
    work = Work("task", f"task.{place}", "atoms", {}, payload, payload.jobs[0], seed, limits)
    return json.loads(worker.run(work))


def test_it_is_there_without_configuration(spool: Path) -> None:
    resource = QRMIService().resource("pulser_analog")
    assert resource.resource_type() == "pulser-simulator"
    assert resource.status().status is ResourceStatusCode.ONLINE
    assert resource.metadata() == {"device": "AnalogDevice", "simulator": "true"}
    assert resource.target().json() == json.loads(AnalogDevice.to_abstract_repr())
    assert [found.name for found in QRMIService().select(type="pulser-simulator", min_qubits=80)] == ["pulser_analog"]


def test_every_device_of_pulser_can_be_stood_for() -> None:
    real = {name for name, device in vars(pulser.devices).items() if isinstance(device, Device)}
    assert set(BUILT_IN) == real
    for name in BUILT_IN:
        assert engine(QRMI_PULSER_DEVICE=name).target().json()["name"] == name


def test_a_device_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.json").write_text(AnalogDevice.to_abstract_repr())
    monkeypatch.chdir(tmp_path)
    resource = engine(QRMI_PULSER_DEVICE="./site.json")
    monkeypatch.chdir("/")
    assert resource.target().json()["name"] == "AnalogDevice"


@pytest.mark.parametrize(
    ("value", "content", "problem"),
    [
        ("AnalogDevise", None, "is 'AnalogDevise': one of AnalogDevice, DigitalAnalogDevice, "),
        ("nothing.json", None, r"nothing.json cannot be read \(No such file or directory\)"),
        ("broken.json", '{"name": "a",\n  oops}', "broken.json: line 2, column 3: Expecting property name"),
        ("other.json", '{"name": "a"}', "other.json: not a Pulser device"),
        ("virtual.json", MockDevice.to_abstract_repr(), "virtual.json is a virtual device"),
    ],
)
def test_devices_that_cannot_be_used(tmp_path: Path, value: str, content: str | None, problem: str) -> None:
    if value.endswith(".json"):
        if content is not None:
            (tmp_path / value).write_text(content)
        value = str(tmp_path / value)
    with pytest.raises(ResourceUnavailable, match=rf"atoms: QRMI_PULSER_DEVICE:? .*{problem}"):
        engine(QRMI_PULSER_DEVICE=value).target()


def test_listing_it_imports_no_pulser() -> None:
    code = (
        "import sys; from qrmi_core import QRMIService, JobContext\n"
        "resource = QRMIService().resource('pulser_analog'); resource.status(); resource.metadata()\n"
        "print(*{'pulser', 'numpy', 'qiskit', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def test_its_target_needs_pulser_once(spool: Path) -> None:
    code = (
        "import sys; from qrmi_core import QRMIService\n"
        "print(QRMIService().resource('pulser_analog').target().json()['name'], 'pulser' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    resource = engine(QRMI_PULSER_DEVICE="AnalogDevice")
    expected = resource.target()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["AnalogDevice", "False"]
    (kept,) = (spool / "devices").glob("AnalogDevice-*.json")
    kept.write_text("{")
    assert resource.target() == expected
    assert kept.read_bytes() == expected.data


def test_it_runs_nothing_but_pulser_batches(resource: PulserSimulator) -> None:
    with pytest.raises(UnsupportedPayload, match="takes PulserBatch, not QiskitPrimitive"):
        resource.submit(QiskitPrimitive("sampler", b"{}"))


@pytest.mark.parametrize(
    ("payload", "error", "problem"),
    [
        (batch(b"{", PulserJob(1)), InputError, "the sequence is not JSON: .*, line 1 column 2"),
        (batch(b"[]", PulserJob(1)), InputError, "the sequence is a JSON list, an object was expected"),
        (batch(b"\xff", PulserJob(1)), InputError, "the sequence is not JSON that can be read"),
        (batch(b"[" * 100_000, PulserJob(1)), InputError, "the sequence is not JSON that can be read"),
        (batch(None, PulserJob(None)), InputError, "job 1: a QPU needs the number of shots"),
        (batch(None, PulserJob(1), PulserJob(0)), InputError, "job 2: runs is 0, at least 1 was expected"),
        (batch(None, PulserJob(1_000_001)), LimitExceeded, "1000001 runs were asked for and atoms takes 1000000"),
        (batch(None, PulserJob(1, b"[]")), InputError, "the variables of job 1 is a JSON list"),
        (batch(None, configuration=b"{}"), InputError, "an emulation configuration was given without a device type"),
        (batch(None, device_type="EMU_FREE", configuration=b"x"), InputError, "emulation configuration is not JSON"),
        (batch(None, device_type="QPU"), UnsupportedPayload, "has no device type QPU"),
    ],
)
def test_what_is_refused_before_submission(
    resource: PulserSimulator, payload: PulserBatch, error: type[Exception], problem: str
) -> None:
    before = resource.task_ids()
    with pytest.raises(error, match=problem):
        resource.submit(payload)
    assert resource.task_ids() == before


def test_jobs_added_later_are_checked_too(resource: PulserSimulator) -> None:
    task = resource.submit(PulserBatch(text(rabi()), (), open=True))
    with pytest.raises(InputError, match="job 1: runs is -1"):
        resource.batch_add(task.id, [PulserJob(-1)])
    (job_id,) = resource.batch_add(task.id, [PulserJob(None)])
    resource.batch_close(task.id)
    info = task.wait(60)
    assert info.status is TaskStatus.FAILED
    assert resource.batch_jobs(task.id)[0].id == job_id
    with pytest.raises(TaskFailed, match="a QPU needs the number of shots"):
        task.result()


def test_forty_atoms_are_refused_with_figures(resource: PulserSimulator) -> None:
    forty = rabi(atoms=40, spacing=6.0, device=MockDevice)
    with pytest.raises(LimitExceeded, match=r"40 atoms has 2\^40 amplitudes of 16 bytes, 1.64e\+04 GB.*EMU_MPS"):
        resource.submit(batch(forty, device_type="EMU_FREE"))
    with pytest.raises(LimitExceeded, match=r"the sequence has 40 atoms and small takes 10 at most"):
        engine("small", QRMI_ENGINE_MAX_QUBITS="10").submit(batch(forty, device_type="EMU_FREE"))


def test_large_payloads_are_refused(resource: PulserSimulator) -> None:
    padded = b" " * (2**20) + text(rabi())
    with pytest.raises(LimitExceeded, match=r"the sequence has .* bytes and 1048576 are allowed"):
        engine("small", QRMI_ENGINE_MAX_INPUT_MB="1").submit(batch(padded))
    with pytest.raises(LimitExceeded, match=r"have .* bytes together and 1048576 are allowed"):
        outcome(batch(padded))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (batch(b"{}"), "the sequence cannot be read: 'channels' is a required property"),
        (batch(parametrised(), PulserJob(5, b"{}")), "cannot be built .*: Did not receive values"),
        (batch(None, PulserJob(5, b"{}"), device_type="EMU_FREE", configuration=b"{}"), "configuration cannot be used"),
        (
            batch(
                rabi(device=MockDevice), device_type="EMU_FREE", configuration=configuration(interaction_matrix=[[0.0]])
            ),
            "does not handle custom interaction matrices",
        ),
        (batch(rabi(device=MockDevice)), "made for the device MockDevice and this resource is AnalogDevice"),
    ],
)
def test_what_the_worker_refuses(payload: PulserBatch, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        outcome(payload)
    assert len(str(refused.value)) < 500


def test_the_worker_counts_shots_of_all_trajectories() -> None:
    noisy = configuration(
        observables=[BitStrings(num_shots=1000)], noise_model=NoiseModel(amp_sigma=0.1), n_trajectories=11
    )
    with pytest.raises(LimitExceeded, match=r"11000 shots .* were asked for and 10000 are allowed"):
        outcome(batch(rabi(device=MockDevice), device_type="EMU_FREE", configuration=noisy))


def test_memory_is_estimated_from_levels_noise_and_times() -> None:
    plain = EmulationConfig(observables=[Occupation()])
    often = EmulationConfig(observables=[Occupation()], default_evaluation_times="Full")
    losses = EmulationConfig(observables=[Occupation()], noise_model=NoiseModel(dephasing_rate=0.1))
    chain = rabi(atoms=10, device=MockDevice)
    base = memory_needed(chain, "EMU_FREE", plain)
    assert 2**10 * 2600 < base < 2**30
    assert memory_needed(chain, "EMU_FREE", often) > 2 * base
    assert memory_needed(chain, "EMU_FREE", losses) > 2**20 * 1000
    assert memory_needed(chain, "EMU_SV", plain) < base
    assert memory_needed(chain, "EMU_MPS", plain) < base / 4
    exchange = Sequence(register(10, 10.0, MockDevice), MockDevice)
    exchange.declare_channel("microwave", "mw_global")
    exchange.add(Pulse.ConstantPulse(500, 1, 0, 0), "microwave")
    assert memory_needed(exchange, "EMU_FREE", plain) > base
    digital = Sequence(register(10, 10.0, MockDevice), MockDevice)
    digital.declare_channel("raman", "raman_local", initial_target="q0")
    digital.declare_channel("rydberg", "rydberg_global")
    digital.add(Pulse.ConstantPulse(500, 1, 0, 0), "rydberg")
    assert memory_needed(digital, "EMU_FREE", plain) > 3**10 * 3000 > base
    with pytest.raises(
        LimitExceeded, match=r"10 atoms of 3 levels for 500 ns need about 0.2 GB of memory with EMU_FREE"
    ):
        check_size(digital, "EMU_FREE", plain, Limits(100, 100, 2**26, 2**20, 1), "atoms")
    with pytest.raises(LimitExceeded, match="the sequence has 10 atoms and atoms takes 9 at most"):
        check_size(chain, "EMU_FREE", plain, Limits(9, 100, 2**40, 2**20, 1), "atoms")


def half_excited() -> Sequence[Any]:
    return rabi(omega=math.pi, duration=300, atoms=2, spacing=20.0, device=MockDevice)


NOISY = [
    {"noise_model": NoiseModel(temperature=100.0, amp_sigma=0.1, p_false_pos=0.1), "n_trajectories": 3},
    pytest.param(
        {"noise_model": NoiseModel(dephasing_rate=1.0, amp_sigma=0.2), "n_trajectories": 3}, marks=pytest.mark.slow
    ),
    {},
]


@pytest.mark.parametrize("noise", NOISY)
def test_a_seed_makes_results_reproducible(noise: dict[str, Any]) -> None:
    """Also the Monte-Carlo solver's, which stochastic noise together with losses selects."""
    observables = [BitStrings(num_shots=100), Occupation()]
    options = configuration(observables=observables, **noise)
    payload = batch(half_excited(), PulserJob(), device_type="EMU_FREE", configuration=options)
    first = outcome(payload)
    assert outcome(payload) == first
    others = [outcome(payload, seed=6), outcome(payload, place=2), outcome(payload, seed=None)]
    assert all(other["counter"] != first["counter"] for other in others)
    assert others[2] != outcome(payload, seed=None)


def test_seeds_through_the_engine(spool: Path) -> None:
    """Equal jobs of a batch differ; the same batch again gives the same; without a seed it does not."""
    payload = PulserBatch(text(rabi(omega=math.pi)), (PulserJob(500), PulserJob(500), PulserJob(500)))

    def counts(resource: PulserSimulator) -> list[Any]:
        task = resource.submit(payload)
        return [job["result"]["counter"] for job in json.loads(task.result(60).data)["jobs"]]

    seeded, again, other = engine(), engine("twin"), engine("other", QRMI_ENGINE_SEED=str(int(SEED) + 1))
    first = counts(seeded)
    assert len({tuple(sorted(counter.items())) for counter in first}) > 1
    assert counts(again) == first
    assert counts(other) != first
    unseeded = PulserSimulator.from_environment("pulser_analog", {}, JobContext())
    assert counts(unseeded) != counts(unseeded)


def test_a_program_that_needs_too_much_memory_fails_alone(spool: Path) -> None:
    small = engine("small", QRMI_ENGINE_MEMORY_MB="300")
    large = rabi(atoms=16, spacing=7.0, device=MockDevice)
    task = small.submit(batch(large, device_type="EMU_FREE"))
    with pytest.raises(TaskFailed, match=r"16 atoms of 2 levels for 500 ns need about 0.3 GB"):
        task.result(60)
    assert json.loads(small.submit(batch()).result(60).data)["counter"] == {"1": 10}
