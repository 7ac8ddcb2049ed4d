# SPDX-License-Identifier: Apache-2.0
"""A private site that is not started: what its users are told."""

from __future__ import annotations

from pathlib import Path

from qrmi_core.slurm.site import Site


def test_users_are_told_of_pools_too(tmp_path: Path) -> None:
    resources = [
        {"name": "fez", "type": "aer-simulator", "lanes": 2, "environment": {}, "description": "a simulator"},
        {"name": "kyiv", "type": "aer-simulator", "environment": {}},
    ]
    pools = [{"name": "either", "members": ["fez", "kyiv"]}, {"name": "one", "members": ["kyiv", "fez"], "lanes": 1}]
    site = Site(tmp_path, resources, pools=pools)
    assert site.listed == [
        {"name": "fez", "type": "aer-simulator", "lanes": 2, "description": "a simulator"},
        {"name": "kyiv", "type": "aer-simulator", "lanes": 1, "description": ""},
        {"name": "either", "type": "aer-simulator", "lanes": 3, "description": ""},
        {"name": "one", "type": "aer-simulator", "lanes": 1, "description": ""},
    ]
