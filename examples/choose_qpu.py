# SPDX-License-Identifier: Apache-2.0
"""Choosing a QPU by what a program needs, instead of by its name.

python examples/choose_qpu.py
"""

from qrmi_core import QRMIError, QRMIService
from qrmi_qiskit import QRMIProvider

service = QRMIService()

print("QPUs with at least 120 qubits and a median two-qubit error of at most 0.5 %:")
for resource in service.select(min_qubits=120, max_two_qubit_error=0.005):
    print(f"  {resource.name}")

chosen = service.least_busy(min_qubits=120, max_two_qubit_error=0.005)
print(f"the least busy of them: {chosen.name}")

backend = QRMIProvider(service).least_busy(min_num_qubits=150, simulator=True)
print(f"a simulator of at least 150 qubits: {backend.name}")

try:
    service.least_busy(min_qubits=5000)
except QRMIError as error:
    print(f"what is asked for and not there is said: {error}")
