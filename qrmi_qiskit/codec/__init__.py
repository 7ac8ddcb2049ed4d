# SPDX-License-Identifier: Apache-2.0
"""IBM's typed JSON: what primitives are given and what they answer.

Protocol facts were read from the output of qiskit-ibm-runtime's ``RuntimeEncoder`` and are tested against
it and its decoder; that package is not imported here.
"""

from qrmi_qiskit.codec.params import encode_estimator, encode_sampler
from qrmi_qiskit.codec.pubs import decode_params
from qrmi_qiskit.codec.results import decode_result, encode_result

__all__ = ["decode_params", "decode_result", "encode_estimator", "encode_result", "encode_sampler"]
