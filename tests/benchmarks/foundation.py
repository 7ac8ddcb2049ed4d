# SPDX-License-Identifier: Apache-2.0
"""What the foundation costs: imports, the command line, codec, target, a Bell pair, waiting and cancelling.

`make bench` runs it and prints a table of medians with their goals; it asserts nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrmi_qiskit import QRMIProvider, SamplerV2
from qrmi_qiskit.aer.snapshots import snapshot_files
from qrmi_qiskit.codec import decode_result, encode_result, encode_sampler
from qrmi_qiskit.target import build_target

QRMI = str(Path(sys.executable).with_name("qrmi"))


def median(work: Callable[[], object], times: int = 5) -> float:
    def once() -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    return statistics.median(once() for _ in range(times))


def process(*command: str) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True, timeout=120)


def python(program: str) -> Callable[[], object]:
    return process(sys.executable, "-c", program)


def show(what: str, figure: str, goal: str) -> None:
    print(f"{what:64} {figure:>12} {goal:>12}", flush=True)


def imports() -> None:
    programs = {
        "empty": "pass",
        "core": "import qrmi_core",
        "service": "from qrmi_core import QRMIService",
        "qiskit": "import qiskit",
        "ours": "from qrmi_qiskit import EstimatorV2, QRMIProvider, SamplerV2",
    }
    # In turns, since a machine's speed changes from minute to minute.
    rounds = [{name: median(python(program), 1) for name, program in programs.items()} for _ in range(7)]
    took = {name: statistics.median(each[name] for each in rounds) for name in programs}
    show("import qrmi_core, over an empty interpreter", f"{took['core'] - took['empty']:.3f} s", "0.060 s")
    show("QRMIService, over an empty interpreter", f"{took['service'] - took['empty']:.3f} s", "")
    show(
        f"all of qrmi_qiskit, over import qiskit ({took['qiskit']:.2f} s)",
        f"{took['ours'] / took['qiskit']:.2f} x",
        "1.3 x",
    )
    show("qrmi --help", f"{median(process(QRMI, '--help')):.2f} s", "0.4 s")


def codec() -> None:
    bits = BitArray(np.random.default_rng(1).integers(0, 256, (100_000, 13), dtype=np.uint8), 100)
    data = encode_result(PrimitiveResult([SamplerPubResult(DataBin(shape=(), meas=bits))]))
    show("decode 100,000 shots of 100 bits", f"{1e3 * median(lambda: decode_result(data)):.0f} ms", "40 ms")
    angles = ParameterVector("t", 200)
    circuit = QuantumCircuit(100)
    for index in range(1250):
        circuit.rz(angles[index % 200], index % 100)
        circuit.sx(index % 100)
        circuit.x(index % 100)
        circuit.cz(index % 99, index % 99 + 1)
    circuit.measure_all()
    pub = SamplerPub.coerce((circuit, np.random.default_rng(1).random((1000, 200)), 100))
    encoding = median(lambda: encode_sampler([pub]))
    show("encode 1,000 points of 100 qubits, 5,000 gates", f"{1e3 * encoding:.0f} ms", "170 ms")
    files = [path.read_bytes() for path in snapshot_files("fez")]
    build = median(lambda: build_target(*(json.loads(file) for file in files)))
    show("build the target of 156 qubits from its JSON", f"{1e3 * build:.0f} ms", "200 ms")


BELL = """
import time
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qrmi_qiskit import QRMIProvider, SamplerV2
begun = time.perf_counter()
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
backend = QRMIProvider().backend()
circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(bell)
SamplerV2(mode=backend).run([circuit]).result()
print(time.perf_counter() - begun)
"""


def bell() -> None:
    command = [QRMI, "run", "--qpu=aer_fez", "--", sys.executable, "-c", BELL]
    runs = [float(subprocess.check_output(command, text=True, timeout=120)) for _ in range(3)]
    show("Bell on aer_fez: target, transpile, run", f"{statistics.median(runs):.2f} s", "5 s")
    show("qrmi run -- true", f"{median(process(QRMI, 'run', '--qpu=aer_fez', '--', 'true'), 3):.2f} s", "")


def waiting() -> None:
    backend = QRMIProvider().backend("aer_ideal")
    sampler = SamplerV2(mode=backend)

    def layers(qubits: int, depth: int) -> QuantumCircuit:
        circuit = QuantumCircuit(qubits)
        for layer in range(depth):
            circuit.rx(0.1 + layer, range(qubits))
            for qubit in range(qubits - 1):
                circuit.cx(qubit, qubit + 1)
        circuit.measure_all()
        return circuit

    sampler.run([layers(2, 1)], shots=1).result(timeout=60)
    late = []
    for _ in range(5):
        job = sampler.run([layers(20, 5)], shots=10)
        job.wait_for_final_state(timeout=60)
        heard = time.time()
        ended = backend.resource.task_info(job.job_id()).ended
        late.append((heard - ended) / job.usage())
    show(f"waiting, over a task of {job.usage():.1f} s", f"{statistics.median(late):.2%}", "5 %")
    job = sampler.run([layers(28, 1000)], shots=1)
    while job.status() != "RUNNING":
        pass
    show("cancel a running task, worker gone", f"{median(job.cancel, 1):.3f} s", "1 s")


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        show("", "measured", "goal")
        imports()
        codec()
        bell()
        waiting()


if __name__ == "__main__":
    main()
