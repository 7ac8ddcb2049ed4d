# SPDX-License-Identifier: Apache-2.0
"""Engines: embedded QPUs, whose device is a simulator in a worker process of the user's own."""

from qrmi_core.engines.resource import EngineResource
from qrmi_core.engines.work import Limits, Work

__all__ = ["EngineResource", "Limits", "Work"]
