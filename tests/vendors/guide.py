# SPDX-License-Identifier: Apache-2.0
"""The driver that the vendor guide leads to, put together from its code blocks."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["guide_driver", "guide_source", "of_guide"]

GUIDE = Path(__file__).parents[2] / "docs" / "vendor-guide.md"
PART = re.compile(r"<!-- part: acme\.py -->\n```python\n(.*?)```", re.DOTALL)


def guide_source() -> str:
    """The blocks of the guide, one after the other."""
    return "\n".join(PART.findall(GUIDE.read_text()))


@functools.cache
def guide_driver() -> Any:
    """The class that they define."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "acme.py"
        file.write_text(guide_source())
        spec = importlib.util.spec_from_file_location("acme", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["acme"] = module
        spec.loader.exec_module(module)
    return module.AcmeServer


def of_guide(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment block of an IQM server, in the variables of the guide's driver."""
    return {
        "QRMI_ACME_ENDPOINT": environment["QRMI_IQM_ISA_ENDPOINT"],
        "QRMI_ACME_TOKEN": environment["QRMI_IQM_ISA_TOKEN"],
        **{key: value for key, value in environment.items() if key == "QRMI_DEVICE"},
    }
