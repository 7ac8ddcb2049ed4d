# SPDX-License-Identifier: Apache-2.0
"""Running circuits on Aer within an engine's limits, and saying why where Aer does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, Qubit
from qiskit.result import Result
from qiskit_aer import AerSimulator
from qiskit_aer.aererror import AerError
from qiskit_aer.noise import NoiseModel

from qrmi_core import InputError, LimitExceeded, Limits, QRMIError

__all__ = ["Simulator"]

_MEGABYTE = 2**20
_HEADROOM = 256 * _MEGABYTE
"""What Python, Aer's noise and the results need beside the states."""

_METHOD = re.compile(r"using the (\w+) simulator")
_STATUS = re.compile(r"^ERROR:\s*|\[Experiment \d+\]\s*")


class Simulator:
    """Aer with a method and limits."""

    def __init__(self, resource: str, method: str, limits: Limits) -> None:
        self.resource = resource
        self.method = method
        self.limits = limits

    @property
    def state_bytes(self) -> int:
        """The memory that states may take."""
        return max(self.limits.memory - _HEADROOM, self.limits.memory // 2)

    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        *,
        shots: int,
        seed: int,
        noise: NoiseModel | None,
        binds: Mapping[Parameter, NDArray[np.float64]] | None = None,
        points: int = 1,
    ) -> Result:
        """Run circuits, or one circuit at ``points`` values of its parameters; every experiment has counts.

        Raises:
            LimitExceeded: they need more qubits, shots or memory than the limits allow.
            InputError: Aer does not take an instruction.
            QRMIError: Aer failed.
        """
        widest = max(circuit.num_qubits for circuit in circuits)
        self._check(widest, shots)
        method = self.method
        if method == "automatic" and noise is not None and self._prefers_density_matrix(circuits, widest, shots):
            method = "density_matrix"
        simulator = AerSimulator(
            method=method,
            noise_model=noise,
            max_memory_mb=self.state_bytes // _MEGABYTE,
            max_parallel_threads=self.limits.threads,
            max_parallel_experiments=self._parallel(method, widest, max(len(circuits), points)),
        )
        options: dict[str, Any] = {"shots": shots, "seed_simulator": seed}
        if binds:
            options["parameter_binds"] = [dict(binds)]
        try:
            result = simulator.run([_not_ending_in_a_loop(circuit) for circuit in circuits], **options).result()
        except MemoryError:
            raise
        except Exception as error:  # Aer's assembler raises whatever it stumbles over
            text = error.message if isinstance(error, AerError) else f"{type(error).__name__}: {error}"
            raise InputError(f"Aer cannot run the circuit: {text}", resource=self.resource) from error
        if not result.success:
            raise self._failure(result, widest)
        return result

    def _check(self, qubits: int, shots: int) -> None:
        if qubits > self.limits.qubits:
            raise LimitExceeded(
                f"the circuit uses {qubits} qubits and {self.resource} allows {self.limits.qubits}: "
                f"use fewer, or raise QRMI_ENGINE_MAX_QUBITS",
                resource=self.resource,
            )
        if shots > self.limits.shots:
            raise LimitExceeded(
                f"{shots} shots and {self.resource} allows {self.limits.shots}: ask for fewer, "
                f"or raise QRMI_ENGINE_MAX_SHOTS",
                resource=self.resource,
            )

    def _prefers_density_matrix(self, circuits: Sequence[QuantumCircuit], qubits: int, shots: int) -> bool:
        """True where one noisy density matrix costs less than a noisy state for each shot.

        Aer's own rule asks for 2^n shots; measured, a gate costs 2 ns x 4^n against 30 us x shots and more.
        """
        fits = _state_bytes("density_matrix", qubits) * self.limits.threads <= self.state_bytes
        return fits and 4**qubits <= 15_000 * shots and all(_is_sampled_at_end(circuit) for circuit in circuits)

    def _parallel(self, method: str, qubits: int, experiments: int) -> int:
        """How many experiments run at once; small states gain nothing from several threads each."""
        fit = self.state_bytes // _state_bytes(method, qubits)
        return max(1, min(self.limits.threads, experiments, fit))

    def _failure(self, result: Result, qubits: int) -> QRMIError:
        told = next((one.status for one in result.results if not one.success), result.status)
        text = _STATUS.sub("", str(told)).strip()
        if "memory" in text:
            named = _METHOD.search(text)
            return self._too_large(named[1] if named else self.method, qubits)
        if "invalid" in text or "unknown" in text or "not supported" in text:
            return InputError(f"Aer cannot run the circuit: {text}", resource=self.resource)
        return QRMIError(f"Aer failed: {text}", resource=self.resource)

    def _too_large(self, method: str, qubits: int) -> LimitExceeded:
        needed = _amount(_state_bytes(method, qubits))
        kind = "density matrix" if method == "density_matrix" else "statevector"
        return LimitExceeded(
            f"the circuit uses {qubits} qubits, which take {needed} as a {kind}, and {self.resource} allows "
            f"{_amount(self.state_bytes)}: use fewer qubits, set QRMI_AER_METHOD=matrix_product_state, "
            f"or raise QRMI_ENGINE_MEMORY_MB",
            resource=self.resource,
        )


def _not_ending_in_a_loop(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with something after its last instruction: Aer 0.18 cannot leave a loop that is the last."""
    if not circuit.data or not circuit.data[-1].is_control_flow():
        return circuit
    longer = circuit.copy()
    longer.barrier()
    return longer


def _amount(size: int) -> str:
    """Bytes for people: ``16 TB``, and a power of ten where no unit has a name."""
    units = ("MB", "GB", "TB", "PB")
    step = min(max((size.bit_length() - 21) // 10, 0), len(units) - 1)
    value = size / _MEGABYTE / 1024**step
    return f"{value:,.4g} {units[step]}" if value < 1e6 else f"1e{math.floor(math.log10(size))} bytes"


def _state_bytes(method: str, qubits: int) -> int:
    return 16 << (2 * qubits if method == "density_matrix" else qubits)


def _is_sampled_at_end(circuit: QuantumCircuit) -> bool:
    """True when nothing follows the measurement of any qubit, so that one simulation gives all shots."""
    measured: set[Qubit] = set()
    for instruction in circuit.data:
        if instruction.name == "measure":
            measured.update(instruction.qubits)
        elif instruction.is_control_flow() or (
            instruction.name != "barrier" and measured.intersection(instruction.qubits)
        ):
            return False
    return True
