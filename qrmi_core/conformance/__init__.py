# SPDX-License-Identifier: Apache-2.0
"""The conformance suite: what every driver must do, tried on a device or on a server that speaks its protocol."""
