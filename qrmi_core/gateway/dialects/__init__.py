# SPDX-License-Identifier: Apache-2.0
"""Dialects: the vendors' REST APIs, served in front of any device; one module for each resource type."""

from __future__ import annotations

from importlib import import_module

from qrmi_core.gateway.dialects.dialect import Dialect, DialectOptions

__all__ = ["DIALECTS", "Dialect", "DialectOptions", "dialect"]

DIALECTS = {
    "alice-bob-felis": "felis:Felis",
    "ibm-quantum-compute-service": "ibm_compute:ComputeService",
    "ibm-quantum-system": "ibm_system:QuantumSystem",
    "iqm-server": "iqm:IQMDialect",
    "pasqal-cloud": "pasqal_cloud:PasqalCloudDialect",
    "pasqal-local": "pasqal_local:Warden",
}


def dialect(name: str) -> type[Dialect]:
    """The dialect of a resource type.

    Raises:
        KeyError: there is none.
    """
    module, _, attribute = DIALECTS[name].partition(":")
    found: type[Dialect] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
