# SPDX-License-Identifier: Apache-2.0
"""A target as a resource gives it or as a file holds it: IBM's ``{"configuration", "properties"}``, or IQM's."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrmi_core import ConfigurationError, EngineResource, QuantumResource, ResourceUnavailable, ResultError
from qrmi_qiskit.iqm.target import configuration_of, is_iqm_target
from qrmi_qiskit.target import Properties, build_target

if TYPE_CHECKING:
    from qiskit.transpiler import Target

__all__ = ["TargetDocument", "document_of_resource", "read_document"]


class TargetDocument:
    """Configuration and properties, with the Qiskit target that is built from them when it is first needed."""

    def __init__(
        self,
        configuration: Mapping[str, Any],
        properties: Mapping[str, Any] | None,
        *,
        use_fractional_gates: bool | None,
    ) -> None:
        self.configuration = configuration
        self._properties = properties
        self._use_fractional_gates = use_fractional_gates

    @property
    def name(self) -> str:
        """The backend's name as the vendor gives it."""
        return str(self.configuration.get("backend_name", "target"))

    @functools.cached_property
    def properties(self) -> Properties | None:
        """What was measured, None where the document holds nothing of it."""
        return None if self._properties is None else Properties.from_dict(self._properties)

    @functools.cached_property
    def target(self) -> Target:
        """Qiskit's target."""
        return build_target(self.configuration, self.properties, use_fractional_gates=self._use_fractional_gates)


def _is_ibm_target(document: Any) -> bool:
    """True for a JSON value that has the form of IBM's configuration and properties."""
    return isinstance(document, Mapping) and isinstance(document.get("configuration"), Mapping)


def document_of_resource(resource: QuantumResource, *, use_fractional_gates: bool | None) -> TargetDocument:
    """Fetch a resource's target.

    Raises:
        ResourceUnavailable: the resource has another kind of target.
        ResultError: what it sent is not JSON.
    """
    name = resource.resource_id()
    document = resource.target().json()
    if is_iqm_target(document):
        configuration = configuration_of(document, name=name, simulator=isinstance(resource, EngineResource))
        return TargetDocument(configuration, None, use_fractional_gates=use_fractional_gates)
    if isinstance(document, Mapping) and "configuration" in document and document["configuration"] is None:
        raise ResourceUnavailable(f"{name} gives no configuration now: ask again later", resource=name, transient=True)
    if not _is_ibm_target(document):
        raise ResourceUnavailable(
            f"{name} ({resource.resource_type()}) has no target for circuits; "
            f"for a Pulser device use qrmi_pulser.QRMIConnection",
            resource=name,
        )
    return TargetDocument(
        document["configuration"], document.get("properties"), use_fractional_gates=use_fractional_gates
    )


def read_document(
    source: str | bytes | os.PathLike[str] | Mapping[str, Any], *, use_fractional_gates: bool | None
) -> TargetDocument:
    """Read what ``qrmi target NAME`` printed, and build its target.

    Raises:
        ConfigurationError: the file is missing, is not JSON, or holds no such target.
    """
    file, document = _loaded(source)
    if is_iqm_target(document):
        try:
            document = {"configuration": configuration_of(document)}
        except ResultError as error:
            raise ConfigurationError(str(error), file=file) from error
    if not _is_ibm_target(document):
        kind = "a Pulser device: qrmi_pulser.device(file) reads it" if _is_pulser(document) else "something else"
        raise ConfigurationError(
            f'a target for Qiskit is {{"configuration": {{...}}, "properties": {{...}}}}, as `qrmi target NAME` prints '
            f"it; this is {kind}",
            file=file,
        )
    return _readable(document, file, use_fractional_gates)


def _readable(document: Mapping[str, Any], file: str | None, use_fractional_gates: bool | None) -> TargetDocument:
    read = TargetDocument(
        document["configuration"], document.get("properties"), use_fractional_gates=use_fractional_gates
    )
    try:
        _ = read.target
    except ResultError as error:
        raise ConfigurationError(str(error), file=file) from error
    return read


def _loaded(source: str | bytes | os.PathLike[str] | Mapping[str, Any]) -> tuple[str | None, Any]:
    if isinstance(source, Mapping):
        return None, source
    file = None
    if isinstance(source, os.PathLike) or source.lstrip()[:1] not in ("{", b"{"):
        path = Path(os.fsdecode(source))
        file = str(path)
        try:
            source = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"it cannot be read: {error.strerror}", file=file) from error
    try:
        return file, json.loads(source)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(f"it is not JSON: {error.msg}", file=file, place=place) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"it is not JSON: {error}", file=file) from error


def _is_pulser(document: Any) -> bool:
    return isinstance(document, Mapping) and ("dimensions" in document or "max_atom_num" in document)
