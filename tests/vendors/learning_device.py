# SPDX-License-Identifier: Apache-2.0
"""A device in IBM's cloud that runs the noise learner's program too, which no simulator does."""

from __future__ import annotations

import json
from collections.abc import Mapping

from unmodified_cells import LEARNED

from qrmi_core import JobContext
from qrmi_core.payloads import Payload, QiskitPrimitive
from qrmi_qiskit.aer.engine import AerSimulator

__all__ = ["LearningDevice"]

ANYTHING = {"pubs": [["OPENQASM 3.0; bit[1] c; qubit[1] q; c[0] = measure q[0];", None, 1]], "version": 2}


class LearningDevice(AerSimulator):
    """What it learns is the same at all times: a layer of one gate."""

    def __init__(self, name: str, settings: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, settings, context)
        self._learning: set[str] = set()

    def task_start(self, payload: Payload) -> str:
        if not isinstance(payload, QiskitPrimitive) or payload.program_id != "noise-learner":
            return super().task_start(payload)
        assert json.loads(payload.parameters)["circuits"], "the noise learner was sent no circuits"
        task = super().task_start(QiskitPrimitive("sampler", json.dumps(ANYTHING).encode()))
        self._learning.add(task)
        return task

    def task_output(self, task_id: str) -> bytes:
        return _learned() if task_id in self._learning else super().task_output(task_id)


def _learned() -> bytes:
    """A result as IBM's cloud encodes it."""
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import PauliList
    from qiskit_ibm_runtime.json import RuntimeEncoder
    from qiskit_ibm_runtime.results import LayerError, PauliLindbladError

    layer = QuantumCircuit(2)
    layer.cz(0, 1)
    qubits, rates = LEARNED
    error = PauliLindbladError(PauliList(["IX", "ZZ"]), rates)
    return json.dumps({"data": [LayerError(layer, qubits, error)], "metadata": {}}, cls=RuntimeEncoder).encode()
