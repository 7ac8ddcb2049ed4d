# SPDX-License-Identifier: Apache-2.0
"""The options of SamplerV2 and EstimatorV2, named as in qiskit-ibm-runtime.

    sampler.options.default_shots = 1000
    sampler.options.dynamical_decoupling.enable = True
    sampler.options.update(twirling={"enable_gates": True})
    SamplerV2(backend, options={"default_shots": 1000})

Only the options that were set are sent; the default of all others is the resource's own. An embedded
simulator follows the seeds, the default shots and the default precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from qrmi_qiskit.option_groups import OptionGroup, option_group
from qrmi_qiskit.option_values import AtLeast, MoreThan

__all__ = [
    "DynamicalDecouplingOptions",
    "EnvironmentOptions",
    "EstimatorOptions",
    "ExecutionOptions",
    "LayerNoiseLearningOptions",
    "MeasureNoiseLearningOptions",
    "PecOptions",
    "PrimitiveOptions",
    "ResilienceOptions",
    "SamplerExecutionOptions",
    "SamplerOptions",
    "SimulatorOptions",
    "TwirlingOptions",
    "ZneOptions",
]

Extrapolator = Literal[
    "linear",
    "exponential",
    "double_exponential",
    "polynomial_degree_1",
    "polynomial_degree_2",
    "polynomial_degree_3",
    "polynomial_degree_4",
    "polynomial_degree_5",
    "polynomial_degree_6",
    "polynomial_degree_7",
    "fallback",
]


@option_group
class DynamicalDecouplingOptions(OptionGroup):
    """Pulses on idle qubits that cancel slow noise."""

    _path = "dynamical_decoupling."

    enable: bool | None = None
    sequence_type: Literal["XX", "XpXm", "XY4"] | None = None
    extra_slack_distribution: Literal["middle", "edges"] | None = None
    scheduling_method: Literal["alap", "asap"] | None = None
    skip_reset_qubits: bool | None = None


@option_group
class TwirlingOptions(OptionGroup):
    """Random Pauli gates around gates and measurements that turn coherent errors into incoherent ones."""

    _path = "twirling."

    enable_gates: bool | None = None
    enable_measure: bool | None = None
    num_randomizations: Annotated[int | Literal["auto"] | None, AtLeast(1)] = None
    shots_per_randomization: Annotated[int | Literal["auto"] | None, AtLeast(1)] = None
    strategy: Literal["active", "active-accum", "active-circuit", "all"] | None = None


@option_group
class ExecutionOptions(OptionGroup):
    """How the device runs the shots; ``rep_delay`` is in seconds."""

    _path = "execution."

    init_qubits: bool | None = None
    rep_delay: Annotated[float | None, AtLeast(0)] = None


@option_group
class SamplerExecutionOptions(ExecutionOptions):
    """How the device runs the shots, and in what form measurements come back."""

    meas_type: Literal["classified", "kerneled", "avg_kerneled"] | None = None


@option_group
class SimulatorOptions(OptionGroup):
    """What a simulator does; ``noise_model`` may be a NoiseModel of qiskit-aer, ``coupling_map`` a CouplingMap."""

    _path = "simulator."

    noise_model: dict[str, Any] | None = None
    seed_simulator: Annotated[int | None, AtLeast(0)] = None
    coupling_map: list[list[int]] | None = None
    basis_gates: list[str] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "noise_model" and hasattr(value, "to_dict"):
            value = value.to_dict(serializable=True)
        if name == "coupling_map" and hasattr(value, "get_edges"):
            value = list(value.get_edges())
        super().__setattr__(name, value)


@option_group
class EnvironmentOptions(OptionGroup):
    """How the job is kept: the level of its log, its tags, and whether its input is forgotten."""

    _path = "environment."

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None
    job_tags: list[str] | None = None
    private: bool | None = None


@option_group
class MeasureNoiseLearningOptions(OptionGroup):
    """How the noise of measurements is learned."""

    _path = "resilience.measure_noise_learning."

    num_randomizations: Annotated[int | None, AtLeast(1)] = None
    shots_per_randomization: Annotated[int | Literal["auto"] | None, AtLeast(1)] = None


@option_group
class LayerNoiseLearningOptions(OptionGroup):
    """How the noise of layers of gates is learned; ``max_layers_to_learn`` None means no limit."""

    _path = "resilience.layer_noise_learning."
    _nullable: ClassVar[frozenset[str]] = frozenset({"max_layers_to_learn"})

    max_layers_to_learn: Annotated[int | None, AtLeast(0)] = 4
    shots_per_randomization: Annotated[int | None, AtLeast(1)] = None
    num_randomizations: Annotated[int | None, AtLeast(1)] = None
    layer_pair_depths: Annotated[list[int] | None, AtLeast(0)] = None


@option_group
class ZneOptions(OptionGroup):
    """Zero-noise extrapolation."""

    _path = "resilience.zne."

    amplifier: Literal["gate_folding", "gate_folding_front", "gate_folding_back", "pea"] | None = None
    noise_factors: Annotated[list[float] | None, AtLeast(1)] = None
    extrapolator: Extrapolator | list[Extrapolator] | None = None
    extrapolated_noise_factors: Annotated[list[float] | None, AtLeast(0)] = None


@option_group
class PecOptions(OptionGroup):
    """Probabilistic error cancellation; ``max_overhead`` None means no limit."""

    _path = "resilience.pec."
    _nullable: ClassVar[frozenset[str]] = frozenset({"max_overhead"})

    max_overhead: Annotated[float | None, MoreThan(0)] = 100.0
    noise_gain: Annotated[float | Literal["auto"] | None, AtLeast(0)] = None


@option_group
class ResilienceOptions(OptionGroup):
    """Error mitigation, method by method; ``resilience_level`` chooses for you."""

    _path = "resilience."

    measure_mitigation: bool | None = None
    measure_noise_learning: MeasureNoiseLearningOptions = field(default_factory=MeasureNoiseLearningOptions)
    zne_mitigation: bool | None = None
    zne: ZneOptions = field(default_factory=ZneOptions)
    pec_mitigation: bool | None = None
    pec: PecOptions = field(default_factory=PecOptions)
    layer_noise_learning: LayerNoiseLearningOptions = field(default_factory=LayerNoiseLearningOptions)


@option_group
class PrimitiveOptions(OptionGroup):
    """What both primitives have; ``max_execution_time`` is in seconds of device time.

    What ``experimental`` says of a group of options is sent in that group, the rest under its own name.
    """

    max_execution_time: Annotated[int | None, AtLeast(1)] = None
    environment: EnvironmentOptions = field(default_factory=EnvironmentOptions)
    simulator: SimulatorOptions = field(default_factory=SimulatorOptions)
    dynamical_decoupling: DynamicalDecouplingOptions = field(default_factory=DynamicalDecouplingOptions)
    twirling: TwirlingOptions = field(default_factory=TwirlingOptions)
    experimental: dict[str, Any] | None = None

    def program_options(self) -> dict[str, Any]:
        """The ``options`` object of IBM's ``params``: what was set, without what does not belong to the program."""
        found = self.to_dict()
        for name in ("environment", "max_execution_time", "resilience_level"):
            found.pop(name, None)
        experimental = found.pop("experimental", {})
        for name in [name for name in experimental if isinstance(getattr(self, name, None), OptionGroup)]:
            found[name] = {**found.get(name, {}), **experimental.pop(name)}
        if experimental:
            found["experimental"] = experimental
        return found

    def task_fields(self) -> dict[str, Any]:
        """What was set that belongs to the task and not to the program, as fields of ``QiskitPrimitive``."""
        environment = self.environment
        return {
            "tags": tuple(environment.job_tags or ()),
            "log_level": environment.log_level,
            "private": bool(environment.private),
            "max_execution_time": self.max_execution_time,
        }

    def flattened(self) -> dict[str, Any]:
        """The options that were set, as ``{"twirling.enable_gates": True}``."""
        return _flattened(self.to_dict(), "")


@option_group
class SamplerOptions(PrimitiveOptions):
    """Options of SamplerV2; ``default_shots`` is for pubs and runs that name no shots."""

    default_shots: Annotated[int, AtLeast(1)] = 4096
    execution: SamplerExecutionOptions = field(default_factory=SamplerExecutionOptions)


@option_group
class EstimatorOptions(PrimitiveOptions):
    """Options of EstimatorV2.

    ``default_precision`` (a standard error; 1/64 is that of 4096 shots) is for pubs and runs that name none;
    ``default_shots`` overrides it.
    """

    default_precision: Annotated[float, MoreThan(0)] = 0.015625
    default_shots: Annotated[int | None, AtLeast(1)] = None
    resilience_level: Annotated[int | None, AtLeast(0, 2)] = None
    seed_estimator: Annotated[int | None, AtLeast(0)] = None
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    resilience: ResilienceOptions = field(default_factory=ResilienceOptions)


def _flattened(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and name not in ("noise_model", "experimental"):
            found |= _flattened(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
