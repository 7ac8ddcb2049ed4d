# SPDX-License-Identifier: Apache-2.0
"""A random program through our primitives, compared with Qiskit's own reference; the seed is in every message."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.transpiler import generate_preset_pass_manager
from scipy.stats import chi2_contingency

from qrmi_core import QuantumResource
from qrmi_qiskit import EstimatorV2, QRMIBackend, SamplerV2

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "qiskit"))

from random_programs import random_circuit, random_observable

__all__ = ["check_estimator", "check_sampler"]

ALPHA = 1e-4
DEVIATIONS = 4.5
SHOTS = 4000
PRECISION = 0.02


def check_sampler(resource: QuantumResource) -> None:
    """SamplerV2 gives what StatevectorSampler gives, and the job can be fetched again by its id."""
    seed = random.SystemRandom().randrange(2**32)
    circuit, _ = random_circuit(seed)
    circuit.measure_all()
    backend = QRMIBackend(resource)
    isa = generate_preset_pass_manager(optimization_level=0, backend=backend).run(circuit)
    job = SamplerV2(backend).run([isa], shots=SHOTS)
    ours = job.result(timeout=100)[0].data.meas.get_counts()
    theirs = StatevectorSampler(seed=seed).run([circuit], shots=SHOTS).result()[0].data.meas.get_counts()
    words = sorted(ours.keys() | theirs.keys())
    table = np.array([[sample.get(word, 0) for word in words] for sample in (ours, theirs)])
    rare = table.sum(axis=0) < 10
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] > 1:
        p = chi2_contingency(table, correction=False).pvalue
        assert p > ALPHA, f"seed {seed}: the two samples differ (p = {p:.2g})"
    assert job.status() == "DONE"
    assert job.usage() > 0.0
    assert job.result() is job.result()


def check_estimator(resource: QuantumResource) -> None:
    """EstimatorV2 gives what StatevectorEstimator gives, within 4.5 of its own standard errors (alpha 1e-5)."""
    seed = random.SystemRandom().randrange(2**32)
    circuit, generator = random_circuit(seed)
    observable = random_observable(circuit.num_qubits, generator)
    backend = QRMIBackend(resource)
    isa = generate_preset_pass_manager(optimization_level=0, backend=backend).run(circuit)
    pub = (isa, observable.apply_layout(isa.layout) if isa.layout else observable)
    ours = EstimatorV2(backend).run([pub], precision=PRECISION).result(timeout=100)[0].data
    exact = float(StatevectorEstimator().run([(circuit, observable)]).result()[0].data.evs)
    allowed = DEVIATIONS * max(float(ours.stds), 1e-9)
    assert abs(float(ours.evs) - exact) <= allowed, f"seed {seed}: {ours.evs} +- {ours.stds}, and {exact} was expected"
