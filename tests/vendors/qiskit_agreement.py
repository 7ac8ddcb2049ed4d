# SPDX-License-Identifier: Apache-2.0
"""A random program through our primitives, compared with Qiskit's own reference; the seed is in every message."""

from __future__ import annotations

import random

from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.transpiler import generate_preset_pass_manager
from random_programs import agree, random_circuit, random_observable
from significance import ALPHA

from qrmi_core import QuantumResource
from qrmi_qiskit import EstimatorV2, QRMIBackend, SamplerV2

__all__ = ["check_estimator", "check_sampler"]

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
    try:
        agree(ours, theirs, ALPHA)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: the two samples differ: {error}") from error
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
