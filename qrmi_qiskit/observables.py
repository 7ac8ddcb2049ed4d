# SPDX-License-Identifier: Apache-2.0
"""Observables as sums of Paulis, which is what can be measured."""

from __future__ import annotations

import numpy as np
from qiskit.quantum_info import SparseObservable

from qrmi_core import LimitExceeded

__all__ = ["in_paulis"]

_PAULIS = frozenset("XYZ")
_MAX_TERMS = 100_000


def in_paulis(observable: SparseObservable) -> list[tuple[str, list[int], float]]:
    """The terms of an observable as (letters, qubits, coefficient), its projectors expanded into Paulis.

    Raises:
        LimitExceeded: they are too many.
    """
    terms = observable.to_sparse_list()
    size = sum(2 ** sum(letter not in _PAULIS for letter in letters) for letters, _, _ in terms)
    if size > _MAX_TERMS:
        raise LimitExceeded(f"an observable has {size} terms in Paulis, and {_MAX_TERMS} are allowed")
    if size > len(terms):
        terms = observable.as_paulis().simplify().to_sparse_list()
    return [(letters, list(qubits), float(np.real(coefficient))) for letters, qubits, coefficient in terms]
