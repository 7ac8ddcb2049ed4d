# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["Config", "Json"]

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A qrmi_config.json; by default QRMI_CONFIG, then the site's."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
