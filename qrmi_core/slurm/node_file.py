# SPDX-License-Identifier: Apache-2.0
"""node.json, which the prolog of a node reads: checked here for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from qrmi_core.strict_files import Strict, Text, above, at_least, load_strict

__all__ = ["SITE_NODE_FILE", "NodeFile", "load_node_file"]

SITE_NODE_FILE = Path("/etc/qrmi/node.json")


class NodeFile(Strict):
    """The file; ``patience`` and ``holdoff`` are in seconds."""

    gateway: Text
    ca: Text | None = None
    munge_socket: Text | None = None
    state_dir: Text = "/run/qrmi"
    patience: Annotated[float, above(0)] = 25
    holdoff: Annotated[float, at_least(0)] = 30
    slurm_conf: Text | None = None
    bin: Text | None = None


def load_node_file(path: Path) -> NodeFile:
    """Read the file.

    Raises:
        ConfigurationError: the first mistake.
    """
    return load_strict(path, NodeFile, example='{"gateway": "https://head:7811"}')
