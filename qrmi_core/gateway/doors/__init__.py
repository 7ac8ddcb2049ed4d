# SPDX-License-Identifier: Apache-2.0
"""Doors: vendors' REST APIs in front of a site's real resources, for jobs that hold a token and no credential."""
