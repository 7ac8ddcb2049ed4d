# SPDX-License-Identifier: Apache-2.0
"""The resource layer: quantum processors as resources of a workload manager."""
