#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every check of `make check`; all of them run, and one failure fails the whole. The distribution, which takes as long
# as the others together, is looked at beside them, and what that says comes at the end.
set -u

failed=
check() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" || failed="$failed $name"
}

said=$(mktemp)
distribution="python -u scripts/check_distribution.py all qiskit-pasqal qiskit pulser qiskit-qpu ibm-system server \
gateway bare"
$distribution >"$said" 2>&1 &
beside=$!
trap 'rm -f "$said"' EXIT
trap 'kill "$beside" 2>/dev/null; wait "$beside"; exit 130' INT TERM

check format ruff format --check .
check lint ruff check .
check licences python scripts/check_licences.py
check imports lint-imports --no-cache --no-logo
check dependencies deptry .
check types mypy

printf '\n== distribution: %s\n' "$distribution"
wait "$beside" || failed="$failed distribution"
cat "$said"

if [ -n "$failed" ]; then
    printf '\nFailed:%s\n' "$failed"
    exit 1
fi
printf '\nAll checks passed.\n'
