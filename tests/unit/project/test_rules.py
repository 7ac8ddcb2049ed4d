# SPDX-License-Identifier: Apache-2.0
"""The checks of `make check` find what they are there to find."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("qrmi_core", "qrmi_qiskit", "qrmi_pulser")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their rules, with one breach of each."""
    directory = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", directory)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


IMPORTS = {
    "qrmi_qiskit/breach_deep.py": ("from qrmi_core import errors", "qrmi_qiskit.breach_deep -> qrmi_core.errors"),
    "qrmi_pulser/breach_deep.py": (
        "from qrmi_core.errors import QRMIError",
        "qrmi_pulser.breach_deep -> qrmi_core.errors",
    ),
    "qrmi_qiskit/breach_sibling.py": ("import qrmi_pulser", "qrmi_qiskit.breach_sibling -> qrmi_pulser"),
    "qrmi_core/breach_numpy.py": ("import numpy", "qrmi_core.breach_numpy -> numpy"),
    "qrmi_core/breach_rich.py": ("from rich import print", "qrmi_core.breach_rich -> rich"),
    "qrmi_core/leases/breach_driver.py": (
        "import qrmi_core.drivers",
        "qrmi_core.leases.breach_driver -> qrmi_core.drivers",
    ),
    "qrmi_core/drivers/breach_cli.py": ("import qrmi_core.cli", "qrmi_core.drivers.breach_cli -> qrmi_core.cli"),
}


def test_import_linter_finds_each_forbidden_import(copy: Path) -> None:
    for name, (statement, _) in IMPORTS.items():
        (copy / name).write_text(f"{statement}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert [expected for _, expected in IMPORTS.values() if expected not in done.stdout] == []


BANNED = {
    "import os\nos.environ['A']": "`os.environ` is banned: only qrmi_core/environment.py",
    "from os import getenv": "`os.getenv` is banned: only qrmi_core/environment.py",
    "import time\ntime.sleep(1)": "`time.sleep` is banned: only qrmi_core/polling.py sleeps",
    "import requests": "`requests` is banned: only qrmi_core/transport.py speaks HTTP",
    "import pickle": "`pickle` is banned: nothing of a user's is unpickled",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_ruff_finds_each_banned_call(copy: Path, package: str) -> None:
    for index, text in enumerate(BANNED):
        (copy / package / f"banned_{index}.py").write_text(f"{text}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--no-cache", "--output-format=concise", package],
        cwd=copy, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    for index, message in enumerate(BANNED.values()):
        found = [line for line in done.stdout.splitlines() if line.startswith(f"{package}/banned_{index}.py")]
        assert any(message in line for line in found), done.stdout


def test_every_extra_is_installed_alone_by_a_check() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    commands = (ROOT / "Makefile").read_text() + (ROOT / "scripts" / "check.sh").read_text().replace("\\\n", "")
    checked = re.findall(r"scripts/check_distribution\.py ([\w -]+)", commands)
    assert sorted(" ".join(checked).split()) == sorted(["bare", *declared])


@pytest.mark.parametrize(("target", "fetched"), [("demo", False), ("check", False), ("test", True), ("install", True)])
def test_a_demo_fetches_nothing_that_only_tests_need(target: str, fetched: bool) -> None:
    command = ["make", "--dry-run", "--what-if=pyproject.toml", target]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    assert 'pip install --quiet --editable ".[all]"' in said
    assert ("munge" in said, "qrmi==" in said) == (fetched, fetched)


@pytest.fixture(scope="module")
def check_licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_licences", ROOT / "scripts" / "check_licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_without_its_licence_is_found(tmp_path: Path, check_licences: ModuleType) -> None:
    files = {
        "LICENSES/Apache-2.0.txt": "the text",
        "LICENSES/GPL-2.0-or-later.txt": "the text",
        "REUSE.toml": (ROOT / "REUSE.toml").read_text(),
        "README.md": "no header, but REUSE.toml names it",
        "good.py": "# SPDX-License-Identifier: Apache-2.0",
        "bare.py": "import this",
        "late.py": "\n" * 9 + "# SPDX-License-Identifier: Apache-2.0",
        "other.py": "# SPDX-License-Identifier: MIT",
        "slurm/prolog.sh": "# SPDX-License-Identifier: Apache-2.0",
        "slurm/job_submit.lua": "-- SPDX-License-Identifier: Apache-2.0",
        "slurm/spank/plugin.c": "/* SPDX-License-Identifier: GPL-2.0-or-later */",
        "picture.gif": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True, timeout=60)
    assert check_licences.mistakes(tmp_path) == [
        "bare.py: no line 'SPDX-License-Identifier: Apache-2.0' in its first 5 lines",
        "late.py: no line 'SPDX-License-Identifier: Apache-2.0' in its first 5 lines",
        "other.py: states MIT, but files of this place are Apache-2.0",
        "picture.gif: no line 'SPDX-License-Identifier: Apache-2.0' in its first 5 lines",
        "slurm/job_submit.lua: states Apache-2.0, but files of this place are GPL-2.0-or-later",
    ]
