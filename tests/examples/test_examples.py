# SPDX-License-Identifier: Apache-2.0
"""Every example runs as its first lines say, and shows what it is about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def output(directory: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def on(qpu: str, example: str, directory: Path, *arguments: str) -> str:
    return output(directory, "qrmi", "run", f"--qpu={qpu}", "--", "python", str(EXAMPLES / example), *arguments)


def test_bell_and_a_sweep_on_a_noisy_device(tmp_path: Path) -> None:
    text = on("aer_fez", "qiskit_bell.py", tmp_path)
    assert "on aer_fez, 156 qubits" in text
    counts = {outcome: int(count) for outcome, count in re.findall(r"^  ([01]{2}) +(\d+)  #*$", text, re.MULTILINE)}
    assert sum(counts.values()) == 2000
    assert counts["00"] > 800
    assert counts["11"] > 800
    shares = [float(share) for share in re.findall(r"^  \d\.\d\d (\d\.\d{3}) ", text, re.MULTILINE)]
    assert len(shares) == 5
    assert shares == sorted(shares)
    assert shares[0] < 0.05
    assert shares[-1] > 0.9


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_an_optimiser_finds_the_ground_state_energy(tmp_path: Path) -> None:
    text = on("aer_ideal", "qiskit_ising.py", tmp_path)
    exact = float(re.search(r"exact ground-state energy (-\d\.\d+)", text)[1])  # type: ignore[index]
    found = float(re.search(r"^found (-\d\.\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    assert exact == pytest.approx(-4.759, abs=0.001)
    assert found < 0.9 * exact


@pytest.mark.slow
def test_an_adiabatic_sequence_ends_in_the_neel_states(tmp_path: Path) -> None:
    text = on("pulser_analog", "pulser_ring.py", tmp_path, str(tmp_path / "ring.png"))
    first, second, *_ = re.findall(r"^ *([01]{10}) ", text, re.MULTILINE)
    assert {first, second} == {"0101010101", "1010101010"}
    assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_qpu_is_chosen_by_criteria(tmp_path: Path) -> None:
    text = output(tmp_path, "python", str(EXAMPLES / "choose_qpu.py"))
    listed = re.search(r"at most 0.5 %:\n((?:  \w+\n)+)", text)
    assert listed is not None
    assert "aer_fez" in listed[1].split()
    assert re.search(r"the least busy of them: aer_\w+", text)
    assert "no QPU is online and meets the criteria (min_qubits=5000)" in text


@pytest.mark.slow
def test_what_one_job_transpiles_without_a_qpu_another_runs(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text(output(tmp_path, "qrmi", "target", "aer_fez"))
    text = output(tmp_path, "python", str(EXAMPLES / "transpile_first.py"), "target.json", "circuits.qpy")
    depths = [int(depth) for depth in re.findall(r"^ghz\d: depth (\d+), \d+ gates", text, re.MULTILINE)]
    assert len(depths) == 3
    assert depths == sorted(depths)
    assert "3 circuits for 156 qubits are in circuits.qpy" in text
    ran = on("aer_fez", "run_transpiled.py", tmp_path, "circuits.qpy")
    shares = [float(share) for share in re.findall(r"^  ghz\d: (\d+\.\d)% all zero", ran, re.MULTILINE)]
    assert len(shares) == 3
    assert min(shares) > 60


@pytest.mark.slow  # as the job of a site it always runs, in tests/system/test_doors.py
@pytest.mark.timeout(180)
def test_a_program_for_ibms_own_client(tmp_path: Path) -> None:
    text = on("aer_fez", "ibm_tutorial.py", tmp_path)
    assert "aer_fez, 156 qubits" in text
    assert float(re.search(r"<ZZ> = (\d\.\d\d)", text)[1]) > 0.8  # type: ignore[index]
    assert "the sampler's job again: DONE True" in text
    assert "jobs of this run: 2" in text


@pytest.mark.slow  # as the job of a site it always runs, in tests/system/test_doors.py
def test_a_program_for_pasqals_own_client(tmp_path: Path) -> None:
    command = ["qrmi", "run", "--qpu=pulser_analog", "--pasqal-hook", "--", "python"]
    text = output(tmp_path, *command, str(EXAMPLES / "pasqal_tutorial.py"))
    both = [int(count) for count in re.findall(r"rad/us: \{'00': (\d+)", text)]
    assert len(both) == 3
    assert both == sorted(both, reverse=True)
    first, second = re.search(r"atoms: \[(\S+) (\S+)\]", text).groups()  # type: ignore[union-attr]
    assert first == second


def test_alice_and_bobs_translator_says_what_it_needs(tmp_path: Path) -> None:
    """Where it is installed, its vendor's tests run it (tests/vendors/test_felis_clients.py)."""
    command = [sys.executable, str(EXAMPLES / "alice_bob_translate.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "qiskit-alice-bob-provider" in done.stderr or "qiskit_alice_bob_provider" in done.stderr


def test_every_example_is_tested_and_has_its_script() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
    scripts = sorted(EXAMPLES.glob("*.sbatch"))
    assert len(scripts) == 5
    for script in scripts:
        asked = re.search(r"^#SBATCH --qpu=\w+$", script.read_text(), re.MULTILINE)
        assert (asked is None) == (script.stem == "transpile_first")
        assert (ROOT / f"examples/{script.stem}.py").exists()
        assert f"srun python examples/{script.stem}.py" in script.read_text()
