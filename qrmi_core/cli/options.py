# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["ClientConfig", "Config", "Json"]

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A qrmi_config.json; by default QRMI_CONFIG, then the site's."),
]
ClientConfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--client-config", metavar="FILE", help="A client.json; by default QRMI_CLIENT_CONFIG, then the site's."
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
