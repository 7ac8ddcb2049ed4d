# SPDX-License-Identifier: Apache-2.0
"""Drivers: one module for each vendor's type, found through the entry-point group ``qrmi.drivers``."""
