# SPDX-License-Identifier: Apache-2.0
"""Programs for Alice & Bob's Felis: QIR text, and an engine that runs it."""
