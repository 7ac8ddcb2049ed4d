# SPDX-License-Identifier: Apache-2.0
"""Servers that speak the vendors' REST APIs; they need the extra ``gateway``."""
