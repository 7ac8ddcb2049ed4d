# SPDX-License-Identifier: Apache-2.0
"""A site with QPUs in IBM's cloud, whose server is the dialect in front of a simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ibm_compute_case import sampler_payload, shows
from vendor_site import Site, site

__all__ = ["INSTANCE", "ROOT", "cloud", "entry", "job_body", "shows"]

ROOT = "/experimental/api/v1"
INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/00000000000000000000000000000000:qrmi-gateway::"


def cloud(**options: Any) -> AbstractContextManager[Site]:
    """The vendor's server; its only device is ``aer_ideal``."""
    return site("ibm-quantum-compute-service", engine="aer_ideal", **options)


def entry(name: str, site: Site, *, old: bool = False, **variables: str) -> Mapping[str, Any]:
    """A resource of the site's configuration; with ``old`` under the name that the type had."""
    prefix = "QRMI_IBM_QRS" if old else "QRMI_IBM_QCS"
    block = {key.replace("QRMI_IBM_QCS", prefix): value for key, value in site.environment.items()}
    return {
        "name": name,
        "type": "qiskit-runtime-service" if old else "ibm-quantum-compute-service",
        "lanes": 1000,
        "environment": {**block, "QRMI_MIN_POLL": "0", **variables},
    }


def job_body(number: int = 1, **fields: Any) -> dict[str, Any]:
    """What creates a job whose every shot gives the number."""
    payload = sampler_payload(number)
    params = json.loads(payload.parameters)
    return {"program_id": payload.program_id, "backend": "aer_ideal", "params": params, **fields}
