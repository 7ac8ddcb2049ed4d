# SPDX-License-Identifier: Apache-2.0
"""Whole programs, from the start of the interpreter to its end, and what importing costs.

A program is slowed down by what is installed beside it: its first transpile imports all of qiskit-ibm-runtime. Upstream
requires that package; our programs run without it, and once more with all of our extras ("ours, all").
"""

from __future__ import annotations

from environment import CRN, DEVICE, our_python
from figures import Goal, over_at_most, ratio_at_most
from runner import Measure, Run

__all__ = ["measures"]

ONLY = {"QRMI_JOB_QPU_RESOURCES": DEVICE, "QRMI_JOB_QPU_TYPES": "ibm-quantum-compute-service"}
"""The job's only QPU: programs need not choose."""

BELL = """
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
isa = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=1).run(bell)
result = SamplerV2({given}).run([isa]).result()
print(result[0].data.meas.get_counts())
"""
QISKIT = """
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
"""
OURS = """
from qrmi_qiskit import QRMIProvider, SamplerV2
backend = QRMIProvider().backend()
"""
UPSTREAM = """
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import SamplerV2, get_backend
(resource,) = QRMIService().resources()
backend = get_backend(resource)
"""
VENDOR = f"""
import os
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
url = os.environ["IAM_URL"]
service = QiskitRuntimeService(
    channel="ibm_quantum_platform", token="fakekey", instance="{CRN}", url=url,
    url_resolver=lambda *given, **named: url + "/api/v1",
)
backend = service.backend("{DEVICE}")
"""


def measures(quick: bool) -> list[Measure]:
    """What is to be run."""
    rounds = 3 if quick else 5
    ours = QISKIT + OURS + BELL.format(given="mode=backend")
    programs = (
        Run("upstream", code=QISKIT + UPSTREAM + BELL.format(given="resource"), environment=ONLY),
        Run("vendor", code=QISKIT + VENDOR + BELL.format(given="mode=backend"), environment=ONLY),
        Run("ours", code=ours, environment=ONLY, python=our_python),
        *(() if quick else (Run("ours, all", code=ours, environment=ONLY),)),
    )
    rows = [
        Measure(
            "program", "whole program: interpreter, Bell, transpiled, printed", programs,
            (Goal("program", "<= 0.75 x upstream", ratio_at_most(0.75, "upstream")),),
            rounds=rounds, charted=True,
        ),
        _imports(
            "import-sampler", "import of the sampler; floor: import qiskit", 3 if quick else 5,
            {
                "floor": "import qiskit", "upstream": "from qrmi.primitives.ibm import SamplerV2",
                "vendor": "from qiskit_ibm_runtime import SamplerV2", "ours": "from qrmi_qiskit import SamplerV2",
            },
            Goal("import-sampler", "<= 1.3 x import qiskit", ratio_at_most(1.3, "floor")),
        ),
    ]  # fmt: skip
    if not quick:
        rows.append(
            _imports(
                "import-core", "import of the core; floor: an empty interpreter", 15,
                {"floor": "pass", "upstream": "import qrmi", "ours": "import qrmi_core"},
                Goal("import-core", "<= 0.06 s over an empty interpreter", over_at_most(0.06, "floor")),
            )
        )  # fmt: skip
    return rows


def _imports(name: str, title: str, rounds: int, codes: dict[str, str], goal: Goal) -> Measure:
    runs = tuple(Run(who, code=code) for who, code in codes.items())
    return Measure(name, title, runs, (goal,), rounds=rounds, charted=True)
