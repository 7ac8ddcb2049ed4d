# SPDX-License-Identifier: Apache-2.0
"""IBM's configuration and properties of a backend, as Qiskit's ``Target`` and as numbers."""

from qrmi_qiskit.target.build import build_target
from qrmi_qiskit.target.properties import Properties

__all__ = ["Properties", "build_target"]
