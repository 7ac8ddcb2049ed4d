# SPDX-License-Identifier: Apache-2.0
"""The documentation does what it says: its code blocks run, section by section, as a reader would run them.

A comment before a block tells what its reader knows: `qpu` is what `qrmi run --qpu=` was given, `file` the name under
which the block was saved (of JSON it tells who reads it), `reach: no` that the QPUs of a configuration are not here.
Blocks marked `bash` are run as they are pasted, as a whole; those marked `sh` are for a cluster or an installation and
are not run; a block that is a `part` of a file is tried with the other parts, elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qrmi_core import QRMIService, errors
from qrmi_core.config import load_site
from qrmi_core.engines.limits import ENGINE_VARIABLES
from qrmi_core.gateway.settings import load_gateway_settings
from qrmi_pulser.engine import PulserSimulator
from qrmi_qiskit.aer.engine import AerSimulator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"((?:<!-- [a-z]+: [^\n]* -->\n)*)```([a-z]+)\n(.*?)```", re.DOTALL)
COMMENT = re.compile(r"<!-- ([a-z]+): (.*?) -->")


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    told: dict[str, str]

    @property
    def runs(self) -> bool:
        return self.language in {"python", "bash", "console", "json"} and "part" not in self.told


def sections() -> Iterator[tuple[str, list[Block]]]:
    for document in DOCUMENTS:
        for section in re.split(r"^(?=#)", document.read_text(), flags=re.MULTILINE):
            blocks = [
                Block(language, code, dict(COMMENT.findall(comments)))
                for comments, language, code in BLOCK.findall(section)
            ]
            if any(block.runs for block in blocks):
                title = section.splitlines()[0].lstrip("# ")
                yield f"{document.name}: {title}", blocks


SECTIONS = dict(sections())
QUICK = ("README.md: A taste", "administrator-guide.md")
"""What always runs, one of each kind of program; the others mostly start the same interpreters again."""


def param(section: str) -> Any:
    if section.startswith(QUICK) or not any(
        block.language in {"python", "bash", "console"} for block in SECTIONS[section]
    ):
        return section
    return pytest.param(section, marks=pytest.mark.slow)


# Files whose secrets and vendors are not here: they are read, and nobody is reached.
READERS = {"qrmi_config.json": load_site, "gateway.json": load_gateway_settings}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("section", [param(section) for section in SECTIONS])
def test_the_blocks_of_a_section_run(section: str, tmp_path: Path) -> None:
    shown = [line.removeprefix("$ ") for block in SECTIONS[section] for line in block.code.splitlines()]
    for number, block in enumerate(SECTIONS[section]):
        match block.language:
            case "python":
                file = block.told.get("file", f"block{number}.py")
                (tmp_path / file).write_text(block.code)
                run = ["qrmi", "run", f"--qpu={block.told['qpu']}", "--"] if "qpu" in block.told else []
                command = [*run, "python", file]
                if shlex.join(command) not in shown:  # else the section runs it itself
                    execute(command, tmp_path)
            case "bash":
                execute(["bash", "-ec", block.code], tmp_path)
            case "console":
                lines = block.code.splitlines()
                assert all(line.startswith("$ ") for line in lines)
                for line in lines:
                    execute(["bash", "-ec", line.removeprefix("$ ")], tmp_path)
            case "json" if "file" in block.told:
                file = tmp_path / block.told["file"]
                file.write_text(block.code)
                READERS[file.name](file)
            case "json":
                config = tmp_path / "qrmi_config.json"
                config.write_text(block.code)
                json.loads(block.code)
                if block.told.get("reach") == "no":
                    listed = [entry for entry in QRMIService(config).listing() if entry.origin == str(config)]
                    assert listed
                    assert [entry.problem for entry in listed if entry.problem] == []
                    continue
                execute(["qrmi", "check", "--config", "qrmi_config.json"], tmp_path)


def execute(command: list[str], directory: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


def test_every_error_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "errors.md").read_text(), flags=re.MULTILINE))
    assert explained == set(errors.__all__) - {"QRMIError", "QRMIWarning"}


def test_every_variable_of_the_simulators_is_explained() -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text()
    explained = set(re.findall(r"^\| `(QRMI_\w+)`", guide, flags=re.MULTILINE))
    read = {variable.name for variable in (*AerSimulator.variables, *PulserSimulator.variables, *ENGINE_VARIABLES)}
    assert explained == read


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
