# SPDX-License-Identifier: Apache-2.0
"""IQM's JSON form of circuits: written for their servers, read by the simulator of one."""
