# SPDX-License-Identifier: Apache-2.0
"""A skipped test is a failed one under CI=true, and says why elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

SKIPPING = {
    "test_module.py": "import pytest\npytest.importorskip('no_such_package')\ndef test(): pass\n",
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no such thing')\ndef test(): pass\n",
    "test_call.py": "import pytest\ndef test(): pytest.skip('no such luck')\n",
    "test_xfail.py": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test(): assert False\n",
}
REASONS = ["could not import 'no_such_package'", "no such thing", "no such luck"]


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", "FAILED|ERROR"), pytest.param("", "SKIPPED", marks=pytest.mark.slow)]
)
def test_what_becomes_of_skipped_tests(tmp_path: Path, ci: str, outcome: str) -> None:
    shutil.copy(CONFTEST, tmp_path)
    for name, text in SKIPPING.items():
        (tmp_path / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {"CI": ci}
    alone = ["-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "--continue-on-collection-errors", *alone, "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (1 if ci else 0), done.stdout
    for reason in REASONS:
        assert re.search(rf"({outcome}).*", done.stdout)
        assert reason in done.stdout
    assert "1 xfailed" in done.stdout
    assert ("skipped" in done.stdout.splitlines()[-1]) is (not ci)
