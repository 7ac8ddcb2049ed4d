#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The two programs of `make demo`, each under the command that a user would type.
set -eu

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

show qrmi run --qpu=aer_fez -- python examples/qiskit_bell.py
show qrmi run --qpu=pulser_analog -- python examples/pulser_ring.py
