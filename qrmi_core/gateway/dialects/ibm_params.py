# SPDX-License-Identifier: Apache-2.0
"""Which keys IBM's programs take in their ``params``; a service answers 400 to any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qrmi_core.gateway.dialects.dialect import Refused

__all__ = ["check_params"]

FREE: Final = None
Shape = Mapping[str, "Shape | None"]


def _keys(*names: str) -> dict[str, Shape | None]:
    return dict.fromkeys(names, FREE)


_SIMULATOR = _keys("noise_model", "seed_simulator", "coupling_map", "basis_gates")
_SHARED: dict[str, Shape | None] = {
    "default_shots": FREE,
    "dynamical_decoupling": _keys(
        "enable", "sequence_type", "extra_slack_distribution", "scheduling_method", "skip_reset_qubits"
    ),
    "twirling": _keys("enable_gates", "enable_measure", "num_randomizations", "shots_per_randomization", "strategy"),
    "simulator": _SIMULATOR,
    "experimental": FREE,
}
_SAMPLER: dict[str, Shape | None] = {**_SHARED, "execution": _keys("init_qubits", "rep_delay", "meas_type")}
_ESTIMATOR: dict[str, Shape | None] = {
    **_SHARED,
    "default_precision": FREE,
    "seed_estimator": FREE,
    "execution": _keys("init_qubits", "rep_delay"),
    "resilience": {
        **_keys("measure_mitigation", "zne_mitigation", "pec_mitigation", "layer_noise_model"),
        "measure_noise_learning": _keys("num_randomizations", "shots_per_randomization"),
        "zne": _keys("amplifier", "noise_factors", "extrapolator", "extrapolated_noise_factors"),
        "pec": _keys("max_overhead", "noise_gain"),
        "layer_noise_learning": _keys(
            "max_layers_to_learn", "shots_per_randomization", "num_randomizations", "layer_pair_depths"
        ),
    },
}
_NOISE_LEARNER: dict[str, Shape | None] = {
    **_keys("max_layers_to_learn", "shots_per_randomization", "num_randomizations", "layer_pair_depths"),
    **_keys("twirling_strategy", "support_qiskit", "experimental"),
    "simulator": _SIMULATOR,
}

_PRIMITIVE = _keys("pubs", "version", "support_qiskit")
_PROGRAMS: Mapping[str, Shape] = {
    "sampler": {**_PRIMITIVE, "shots": FREE, "options": _SAMPLER},
    "estimator": {**_PRIMITIVE, "precision": FREE, "resilience_level": FREE, "options": _ESTIMATOR},
    "noise-learner": {
        **_keys("circuits", "version", "schema_version", "instructions"),
        "options": FREE,
    },
    "executor": _keys("schema_version", "quantum_program", "options"),
}


def check_params(program: object, params: object) -> None:
    """Refuse a program that does not exist, and params with keys that it does not take.

    Raises:
        Refused: 404 for the program, 400 for a key; says where it stands.
    """
    if not isinstance(program, str) or program not in _PROGRAMS:
        raise Refused(404, f"Program not found: {program}", code="1229")
    shape = _PROGRAMS[program]
    if program == "noise-learner" and isinstance(params, Mapping) and "circuits" in params:
        shape = {**shape, "options": _NOISE_LEARNER}
    _check(params, shape, "params")


def _check(value: Any, shape: Shape, place: str) -> None:
    if not isinstance(value, Mapping):
        raise Refused(400, f"{place} must be an object", code="1211")
    for key, inside in value.items():
        if key not in shape:
            raise Refused(400, f"{place}.{key}: extra inputs are not permitted", code="1211")
        known = shape[key]
        if known is not FREE and inside is not None:
            _check(inside, known, f"{place}.{key}")
