# SPDX-License-Identifier: Apache-2.0
"""An unmodified program for pasqal-cloud on the Pulser engine, without an account; and the hook that leads it there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unmodified_cells import PULSER
from unmodified_run import PROGRAMS, environment, qrmi_run, told

from qrmi_core.vendor_environment import HOOK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = PROGRAMS / "pasqal_unmodified.py"


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> Any:
    own = environment(tmp_path_factory.mktemp("home"))
    return told(qrmi_run("--qpu=pulser_analog", "--pasqal-hook", "--", sys.executable, PROGRAM, environment=own))


def test_the_engine_answers_to_its_name_and_to_those_of_its_device(got: Any) -> None:
    assert got["devices"] == got["names"] == ["AnalogDevice", "FRESNEL", "pulser_analog"]
    assert got["own_device"] == {"1": 10}


@pytest.mark.parametrize("feature", PULSER)
def test_it_got_what_it_must(got: Any, feature: str) -> None:
    PULSER[feature](got)


def python(program: str, *paths: Path, **variables: str) -> str:
    """A Python with the hook in front of other paths, and a warning that is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, [HOOK, *paths])), **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout.strip()


LED = {"QRMI_PASQAL_URL": "http://127.0.0.1:9", "QRMI_PASQAL_TOKEN": "the job's"}


def test_the_hook_imports_nothing_and_the_sites_own_customisation_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("LOADED = 'of the site'\n")
    program = (
        "import sitecustomize, sys; print(sitecustomize.LOADED, 'pasqal_cloud' in sys.modules, 'json' in sys.modules)"
    )
    assert python(program, tmp_path, **LED) == "of the site False False"
    assert python(program, tmp_path) == "of the site False False"


WHERE = """
import pasqal_cloud.http_client
from pasqal_cloud.authentication import PasswordGrantTokenProvider
from pasqal_cloud.endpoints import PASQAL_ENDPOINTS, Endpoints, TokenProviderConf
here = TokenProviderConf.from_region("fr")
print(Endpoints.from_region("fr").core, PasswordGrantTokenProvider("me", "secret", here).get_token())
print(PASQAL_ENDPOINTS["prod"].core)
"""


def test_the_hook_changes_what_no_program_says_itself() -> None:
    led, own = python(WHERE, **LED).splitlines()
    assert led == "http://127.0.0.1:9/core-fast the job's"
    assert own == "https://apis.pasqal.cloud/core-fast"


def test_a_client_that_the_hook_does_not_know_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "pasqal_cloud").mkdir()
    (tmp_path / "pasqal_cloud" / "__init__.py").write_text("")
    (tmp_path / "pasqal_cloud" / "endpoints.py").write_text("")
    program = "try:\n    import pasqal_cloud.endpoints\nexcept RuntimeWarning as warning:\n    print(warning)\n"
    assert "this pasqal-cloud is not known to the hook of qrmi" in python(program, tmp_path, **LED)
