# SPDX-License-Identifier: Apache-2.0
"""Upstream's SamplerV2 and EstimatorV2: a circuit in QPY (base64) on stdin, counts and expectation values as JSON."""

import base64
import io
import json
import sys

from qiskit import qpy, transpile
from qiskit.quantum_info import SparsePauliOp
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import EstimatorV2, SamplerV2, get_backend

asked = json.load(sys.stdin)
(measured,) = qpy.load(io.BytesIO(base64.b64decode(asked["circuit"])))
(resource,) = QRMIService().resources()
backend = get_backend(resource)
isa = transpile(measured, backend, optimization_level=1, seed_transpiler=1)
counts = SamplerV2(resource, options={"default_shots": asked["shots"]}).run([isa]).result()[0].data.meas.get_counts()
bare = isa.remove_final_measurements(inplace=False)
observable = SparsePauliOp.from_list([(label, 1.0) for label in asked["observables"]])
values = []
for label in asked["observables"]:
    laid_out = SparsePauliOp(label).apply_layout(isa.layout)
    result = EstimatorV2(resource, options={"default_precision": asked["precision"]}).run([(bare, laid_out)]).result()
    values.append(float(result[0].data.evs))
json.dump({"counts": counts, "values": values}, sys.stdout)
