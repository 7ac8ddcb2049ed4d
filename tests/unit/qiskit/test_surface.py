# SPDX-License-Identifier: Apache-2.0
"""The public surface, and what importing it costs and needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import qrmi_qiskit

ROOT = Path(qrmi_qiskit.__file__).parents[1]


def python(program: str, *flags: str) -> str:
    run = subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_surface_is_listed_sorted_and_there() -> None:
    assert qrmi_qiskit.__all__ == sorted(qrmi_qiskit.__all__)
    assert set(qrmi_qiskit.__all__) <= set(dir(qrmi_qiskit))
    for name in qrmi_qiskit.__all__:
        assert getattr(qrmi_qiskit, name).__module__.startswith("qrmi_qiskit."), name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'qrmi_qiskit' has no attribute 'SamplerV3'"):
        _ = qrmi_qiskit.SamplerV3


def test_the_bare_import_loads_neither_qiskit_nor_numpy() -> None:
    loaded = json.loads(python("import json, sys, qrmi_qiskit; print(json.dumps(list(sys.modules)))"))
    assert not {"qiskit", "numpy", "pydantic", "qrmi_core.service"} & set(loaded)


def test_a_primitive_loads_nothing_beside_qiskit_and_this_project() -> None:
    program = (
        "import json, sys, qiskit; before = set(sys.modules); from qrmi_qiskit import EstimatorV2, SamplerV2; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = {name.partition(".")[0] for name in json.loads(python(program))}
    foreign = loaded - sys.stdlib_module_names - {"qrmi_core", "qrmi_qiskit", "pybase64"}
    assert foreign == set()


def test_without_qiskit_the_package_imports_and_a_class_says_what_to_install() -> None:
    # -S leaves site-packages out, as if nothing were installed.
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import qrmi_qiskit; print(qrmi_qiskit.__all__[0])\n"
        "try:\n    from qrmi_qiskit import SamplerV2\nexcept ImportError as error:\n    print(error)"
    )
    first, message = python(program, "-S").splitlines()
    assert first == qrmi_qiskit.__all__[0]
    assert message.startswith("qrmi_qiskit.SamplerV2 needs ")
    assert message.endswith(": pip install 'qrmi-providers[qiskit]'")
