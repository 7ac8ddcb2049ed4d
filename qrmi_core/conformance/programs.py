# SPDX-License-Identifier: Apache-2.0
"""The small programs that the suite runs, one maker for each kind of payload.

A maker for another kind comes with its package, in the entry-point group ``qrmi.conformance`` under the payload
type's name.
"""

from __future__ import annotations

import base64
import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from importlib.metadata import entry_points
from typing import Any

from qrmi_core.errors import ResultError, UnsupportedPayload
from qrmi_core.payloads import AliceBobFelis, IQMServer, Payload, PulserBatch, QiskitPrimitive
from qrmi_core.resource import QuantumResource

__all__ = ["Programs", "foreign_payload", "programs_for"]

GROUP = "qrmi.conformance"


class Programs(ABC):
    """Programs on one qubit of a device, for one kind of payload."""

    def __init__(self, target: bytes, shots: int) -> None:
        self.target = target
        self.shots = shots

    @abstractmethod
    def good(self, outcome: str) -> Payload:
        """A program of which a good device measures mostly ``outcome``, ``0`` or ``1``."""

    @abstractmethod
    def broken(self) -> Payload:
        """A program that the device, or its vendor's server, must refuse or fail."""

    @abstractmethod
    def counts(self, result: bytes) -> Counter[str]:
        """The bits that were measured, and how often.

        Raises:
            ResultError: it is no result of such a program.
        """


class SamplerPrograms(Programs):
    """OpenQASM 3 on the physical qubit 0, for IBM's sampler."""

    def good(self, outcome: str) -> Payload:
        flip = "x $0;\n" if outcome == "1" else ""
        return self._payload(f'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[1] c;\n{flip}c[0] = measure $0;\n')

    def broken(self) -> Payload:
        return self._payload("OPENQASM 3.0;\nthis is no program;\n")

    def counts(self, result: bytes) -> Counter[str]:
        try:
            document = json.loads(result)["__value__"]
            data = document["pub_results"][0]["__value__"]["data"]["__value__"]["fields"]["c"]["__value__"]
            array = zlib.decompress(base64.b64decode(data["array"]["__value__"]))
            # The .npy format, version 1: 8 bytes of magic and version, 2 of the header's length, the header, the data.
            bits = array[10 + int.from_bytes(array[8:10], "little") :]
        except (ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
            raise ResultError(f"this is no sampler result: {type(error).__name__}: {error}") from error
        return Counter(str(byte & 1) for byte in bits)

    def _payload(self, circuit: str) -> Payload:
        params = {"pubs": [[circuit, None, self.shots]], "options": {}, "version": 2, "support_qiskit": True}
        return QiskitPrimitive("sampler", json.dumps(params).encode())


class IQMPrograms(Programs):
    """IQM's circuits on the first qubit of the target."""

    def good(self, outcome: str) -> Payload:
        angle = 3.141592653589793 if outcome == "1" else 0.0
        return self._payload({"name": "prx", "args": {"angle": angle, "phase": 0.0}})

    def broken(self) -> Payload:
        return self._payload({"name": "no_such_operation", "args": {}})

    def counts(self, result: bytes) -> Counter[str]:
        try:
            counted = json.loads(result)["measurement_counts"][0]["counts"]
            return Counter({str(bits): int(count) for bits, count in counted.items()})
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ResultError(f"this is no IQM result: {type(error).__name__}: {error}") from error

    def _payload(self, instruction: dict[str, Any]) -> Payload:
        qubit = json.loads(self.target)["dynamic_quantum_architecture"]["qubits"][0]
        instructions = [
            {**instruction, "locus": [qubit], "implementation": None},
            {"name": "measure", "locus": [qubit], "args": {"key": "c_1_0_0"}, "implementation": None},
        ]
        body = {
            "circuits": [{"name": "conformance", "instructions": instructions, "metadata": {}}],
            "shots": self.shots,
            "heralding_mode": "none",
        }
        return IQMServer(json.dumps(body).encode(), "circuit")


class FelisPrograms(Programs):
    """QIR text on one qubit, for Alice & Bob."""

    def good(self, outcome: str) -> Payload:
        bit = "true" if outcome == "1" else "false"
        return self._payload(
            f"  call void @__quantum__qis__prepare_z__body(i1 {bit}, %Qubit* null)\n"
            f"  call void @__quantum__qis__mz__body(%Qubit* null, %Result* null)\n"
        )

    def broken(self) -> Payload:
        return self._payload("  call void @__quantum__qis__no_such_function__body(%Qubit* null)\n")

    def counts(self, result: bytes) -> Counter[str]:
        counted: Counter[str] = Counter()
        try:
            for line in result.decode().split():
                bits, count = line.split(",")
                counted[bits] += int(count)
        except ValueError as error:
            raise ResultError(f"this is no Felis result: {error}") from error
        return counted

    def _payload(self, calls: str) -> Payload:
        text = (
            "%Qubit = type opaque\n%Result = type opaque\n\n"
            "define void @main() #0 {\nentry:\n"
            f"{calls}"
            "  call void @__quantum__rt__result_record_output(%Result* null, i8* null)\n"
            "  ret void\n}\n\n"
            "declare void @__quantum__qis__prepare_z__body(i1, %Qubit*)\n"
            "declare void @__quantum__qis__mz__body(%Qubit*, %Result* writeonly)\n"
            "declare void @__quantum__rt__result_record_output(%Result*, i8*)\n\n"
            'attributes #0 = { "entry_point" "output_labeling_schema" "qir_profiles"="base_profile" '
            '"required_num_qubits"="1" "required_num_results"="1" }\n'
        )
        return AliceBobFelis(text.encode(), json.dumps({"nbShots": self.shots}).encode())


_OWN: dict[type, type[Programs]] = {
    QiskitPrimitive: SamplerPrograms,
    IQMServer: IQMPrograms,
    AliceBobFelis: FelisPrograms,
}


def programs_for(resource: QuantumResource, target: bytes, shots: int) -> Programs:
    """The programs for the first kind of payload that a resource takes.

    Raises:
        UnsupportedPayload: no maker is installed for it.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    for kind in resource.takes:
        if kind in _OWN:
            return _OWN[kind](target, shots)
        if kind.__name__ in installed:
            maker: type[Programs] = installed[kind.__name__].load()
            return maker(target, shots)
    kinds = ", ".join(kind.__name__ for kind in resource.takes)
    raise UnsupportedPayload(
        f"{resource.name}: the suite has no programs for {kinds}: add a subclass of qrmi_core.conformance.programs."
        f"Programs to the entry-point group {GROUP}"
    )


def foreign_payload(resource: QuantumResource) -> Payload:
    """A payload of a kind that the resource does not take."""
    samples: list[Payload] = [
        IQMServer(b"{}", "circuit"),
        PulserBatch(b"{}", ()),
        QiskitPrimitive("sampler", b"{}"),
        AliceBobFelis(b"", b"{}"),
    ]
    return next(sample for sample in samples if not isinstance(sample, resource.takes))
