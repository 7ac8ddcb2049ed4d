#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every check of `make check`, in the order of their cost; all of them run, and one failure fails the whole.
set -u

failed=
check() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" || failed="$failed $name"
}

check format ruff format --check .
check lint ruff check .
check licences python scripts/check_licences.py
check imports lint-imports --no-cache --no-logo
check dependencies deptry .
check types mypy
check distribution python scripts/check_distribution.py \
    bare qiskit qiskit-qpu pulser ibm-system server gateway qiskit-pasqal all

if [ -n "$failed" ]; then
    printf '\nFailed:%s\n' "$failed"
    exit 1
fi
printf '\nAll checks passed.\n'
