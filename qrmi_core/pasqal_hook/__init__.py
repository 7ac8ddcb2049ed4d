# SPDX-License-Identifier: Apache-2.0
"""In ``PYTHONPATH``, this directory leads unchanged programs for Pasqal's cloud to the QPU of their job."""
