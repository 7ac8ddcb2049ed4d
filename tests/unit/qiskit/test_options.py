# SPDX-License-Identifier: Apache-2.0
"""Options: named as in qiskit-ibm-runtime, checked when they are set, sent only when they were."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from qiskit.transpiler import CouplingMap
from qiskit_aer.noise import NoiseModel

from qrmi_core import InputError
from qrmi_qiskit import EstimatorOptions, SamplerOptions
from qrmi_qiskit.option_groups import OptionGroup


def test_what_is_not_set_has_its_default_and_is_not_sent() -> None:
    sampler, estimator = SamplerOptions(), EstimatorOptions()
    assert sampler.default_shots == 4096
    assert estimator.default_precision == 0.015625
    assert estimator.default_shots is None
    assert sampler.dynamical_decoupling.enable is None
    assert estimator.resilience.pec.max_overhead == 100
    assert sampler.to_dict() == estimator.to_dict() == {}


def test_options_are_set_one_by_one() -> None:
    options = SamplerOptions()
    options.default_shots = 100
    options.dynamical_decoupling.enable = True
    options.dynamical_decoupling.sequence_type = "XY4"
    options.twirling.num_randomizations = "auto"
    assert options.to_dict() == {
        "default_shots": 100,
        "dynamical_decoupling": {"enable": True, "sequence_type": "XY4"},
        "twirling": {"num_randomizations": "auto"},
    }


def test_an_option_set_to_none_is_taken_back() -> None:
    options = EstimatorOptions(resilience_level=2, default_precision=0.1)
    options.resilience_level = None
    options.update(default_precision=None)
    assert options.to_dict() == {}
    assert options.default_precision == 0.015625


def test_none_is_sent_where_it_means_no_limit() -> None:
    options = EstimatorOptions(resilience={"pec": {"max_overhead": None}})
    assert options.to_dict() == {"resilience": {"pec": {"max_overhead": None}}}


def test_a_group_can_be_given_as_a_dictionary_or_replaced() -> None:
    options = EstimatorOptions(resilience={"zne_mitigation": True, "zne": {"noise_factors": (1, 2, 3)}})
    assert options.resilience.zne.noise_factors == [1.0, 2.0, 3.0]
    options.resilience = {"measure_mitigation": True}
    assert options.to_dict() == {"resilience": {"measure_mitigation": True}}
    options.resilience = None
    assert options.to_dict() == {}


def test_update_keeps_what_it_does_not_name() -> None:
    options = SamplerOptions(dynamical_decoupling={"enable": True}, default_shots=7)
    options.update(dynamical_decoupling={"sequence_type": "XX"}, execution={"init_qubits": False})
    assert options.to_dict() == {
        "default_shots": 7,
        "dynamical_decoupling": {"enable": True, "sequence_type": "XX"},
        "execution": {"init_qubits": False},
    }


def test_a_group_that_is_assigned_is_copied() -> None:
    first, second = SamplerOptions(), SamplerOptions()
    first.twirling.enable_gates = True
    second.twirling = first.twirling
    second.twirling.enable_gates = False
    assert first.twirling.enable_gates is True


def test_numpy_and_qiskit_values_become_json() -> None:
    options = SamplerOptions(default_shots=np.int64(12), execution={"rep_delay": np.float32(0.5)})
    options.dynamical_decoupling.enable = np.True_
    options.simulator.coupling_map = CouplingMap([(0, 1), (1, 0)])
    options.simulator.noise_model = NoiseModel()
    sent = options.to_dict()
    assert type(sent["default_shots"]) is int
    assert type(sent["execution"]["rep_delay"]) is float
    assert sent["dynamical_decoupling"]["enable"] is True
    assert sent["simulator"]["coupling_map"] == [[0, 1], [1, 0]]
    assert sent["simulator"]["noise_model"] == {"errors": []}


def test_what_does_not_belong_to_the_program_is_not_sent_with_it() -> None:
    options = EstimatorOptions(
        resilience_level=1, max_execution_time=60, environment={"job_tags": ["a"]}, seed_estimator=3
    )
    assert options.program_options() == {"seed_estimator": 3}


def test_experimental_options_of_a_group_are_sent_in_it() -> None:
    options = SamplerOptions(
        execution={"init_qubits": True}, experimental={"execution": {"scheduler_timing": True}, "newest": 1}
    )
    assert options.program_options() == {
        "execution": {"init_qubits": True, "scheduler_timing": True},
        "experimental": {"newest": 1},
    }


def test_its_text_shows_what_was_set() -> None:
    options = SamplerOptions(default_shots=5, twirling={"enable_measure": True})
    assert repr(options) == "SamplerOptions(twirling=TwirlingOptions(enable_measure=True), default_shots=5)"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"defalt_shots": 1}, "the options have no 'defalt_shots'; did you mean default_shots?"),
    ({"zzz": 1}, "the options have no 'zzz'; there are max_execution_time, environment"),
    ({"twirling": {"enable_gate": True}}, "options.twirling has no 'enable_gate'; did you mean enable_gates"),
    ({"twirling": 3}, "options.twirling takes TwirlingOptions or a dictionary, not 3 (int)"),
    ({"default_shots": 1.5}, "options.default_shots takes an integer, not 1.5 (float)"),
    ({"default_shots": True}, "options.default_shots takes an integer, not True (bool)"),
    ({"default_shots": 0}, "options.default_shots must be at least 1, not 0"),
    (
        {"dynamical_decoupling": {"sequence_type": "XY8"}},
        "options.dynamical_decoupling.sequence_type takes one of XX, XpXm, XY4, not 'XY8' (str); did you mean XY4?",
    ),
    ({"dynamical_decoupling": {"enable": 1}}, "options.dynamical_decoupling.enable takes True or False, not 1 (int)"),
    (
        {"twirling": {"num_randomizations": "aut"}},
        "takes an integer or one of auto, not 'aut' (str); did you mean auto",
    ),
    ({"execution": {"rep_delay": float("nan")}}, "options.execution.rep_delay takes a finite number, not nan (float)"),
    ({"environment": {"job_tags": "tag"}}, "options.environment.job_tags takes a list, not 'tag' (str)"),
    ({"environment": {"log_level": "warn"}}, "not 'warn' (str)"),
    ({"simulator": {"basis_gates": [1]}}, "options.simulator.basis_gates takes a list, not [1] (list)"),
    ({"experimental": []}, "options.experimental takes a dictionary, not [] (list)"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_what_does_not_exist_or_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        SamplerOptions(**given)
    options = SamplerOptions()
    with pytest.raises(InputError, match=re.escape(message)):
        options.update(**given)


def test_the_estimators_bounds() -> None:
    with pytest.raises(InputError, match=r"options\.resilience_level must be at least 0 and at most 2, not 3"):
        EstimatorOptions(resilience_level=3)
    with pytest.raises(InputError, match=r"options\.default_precision must be more than 0, not 0"):
        EstimatorOptions(default_precision=0)
    with pytest.raises(InputError, match=r"options.resilience.zne.noise_factors must be at least 1, not \[0, 1\]"):
        EstimatorOptions(resilience={"zne": {"noise_factors": [0, 1]}})
    with pytest.raises(InputError, match=r"extrapolator takes one of linear.*did you mean linear\?"):
        EstimatorOptions(resilience={"zne": {"extrapolator": ["linar"]}})


def _names(group: type[Any], prefix: str = "") -> set[str]:
    """The options of a dataclass of options, dotted."""
    found = set()
    for each in dataclasses.fields(group):
        default = each.default_factory if each.default_factory is not dataclasses.MISSING else each.default
        factory = getattr(default, "default_factory", None) or default
        if dataclasses.is_dataclass(factory):
            found |= _names(factory, f"{prefix}{each.name}.")
        else:
            found.add(prefix + each.name)
    return found


@pytest.mark.parametrize("name", ["SamplerOptions", "EstimatorOptions"])
def test_the_names_are_those_of_qiskit_ibm_runtime(name: str) -> None:
    import qiskit_ibm_runtime.options as theirs

    import qrmi_qiskit.options as ours

    # A model of layers can only be made with IBM's noise learner.
    left_out = {"_VERSION", "resilience.layer_noise_model"}
    assert issubclass(getattr(ours, name), OptionGroup)
    assert _names(getattr(ours, name)) == _names(getattr(theirs, name)) - left_out
