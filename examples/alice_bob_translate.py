# SPDX-License-Identifier: Apache-2.0
"""Translate a circuit for one of Alice & Bob's targets, with the vendor's own translator.

It runs in an environment of its own, which needs nothing of this project:

    python -m venv alice-bob && alice-bob/bin/pip install "qiskit-alice-bob-provider>=3,<4"

The target comes from the QPU, the payload that this program prints goes to it:

    qrmi target NAME > target.json
    alice-bob/bin/python alice_bob_translate.py target.json circuit.qpy --shots 1000 > payload.json
    qrmi task run NAME payload.json

The circuit is a file of Qiskit's (`qpy.dump`) or OpenQASM 2 (`.qasm`).
"""

import argparse
import json
from pathlib import Path

from qiskit import QuantumCircuit, qasm2, qpy, transpile
from qiskit.transpiler import PassManager
from qiskit_alice_bob_provider.plugins.state_preparation import EnsurePreparationPass
from qiskit_alice_bob_provider.qir import circuit_to_qir
from qiskit_alice_bob_provider.remote.backend import AliceBobRemoteBackend


def load(file: Path) -> QuantumCircuit:
    if file.suffix == ".qasm":
        return qasm2.load(file, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)  # gates that Qiskit writes
    with file.open("rb") as stream:
        return qpy.load(stream)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="what `qrmi target NAME` printed")
    parser.add_argument("circuit", type=Path, help="a .qpy or .qasm file")
    parser.add_argument("--shots", type=int, help="by default the target's own number")
    arguments = parser.parse_args()

    target = json.loads(arguments.target.read_text())
    backend = AliceBobRemoteBackend(None, target)  # without a client: it is asked for its gates only
    prepared = PassManager([EnsurePreparationPass()]).run(transpile(load(arguments.circuit), backend))
    parameters = {name: rule["default"] for name, rule in target["inputParams"].items()}
    if arguments.shots is not None:
        parameters["nbShots"] = arguments.shots
    print(json.dumps({"human_qir": circuit_to_qir(prepared), "input_params": parameters}))


if __name__ == "__main__":
    main()
