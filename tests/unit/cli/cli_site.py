# SPDX-License-Identifier: Apache-2.0
"""`qrmi` as a process, at a site of a test's own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from qrmi_core.polling import wait_until

QRMI = str(Path(sys.executable).with_name("qrmi"))
SECONDS = 60


@dataclass
class Site:
    """Where `qrmi` runs in a test, and what it may leave behind nowhere else."""

    directory: Path
    plug_ins: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str | Path, **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            [QRMI, *map(str, arguments)],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "env": self.environment,
                "cwd": self.directory,
                **options,
            },  # type: ignore[call-overload]
        )
        self.started.append(process)
        return process

    def qrmi(self, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        stdout, stderr = process.communicate(stdin, timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def python(self, text: str) -> str:
        """Run a Python program at the site and return its output."""
        return subprocess.run(
            [sys.executable, "-c", text],
            check=True, capture_output=True, text=True, timeout=SECONDS, env=self.environment, cwd=self.directory,
        ).stdout  # fmt: skip

    def add_plug_in(self, name: str, value: str) -> None:
        """Install one more engine, by its entry point."""
        (points,) = self.plug_ins.glob("*.dist-info/entry_points.txt")
        points.write_text(f"{points.read_text()}{name} = {value}\n")

    def script(self, text: str, name: str = "program.py") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def wait_for_file(self, name: str) -> str:
        """The text of a file that a process writes, once it ends with a newline."""
        path = self.directory / name
        assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"), timeout=SECONDS), f"no {name}"
        return path.read_text().strip()

    def acquisitions(self) -> list[str]:
        path = Path(self.environment["ACQUISITIONS"])
        return path.read_text().splitlines() if path.exists() else []

    def processes(self) -> list[int]:
        """The living processes that were started here, by whomever."""
        mark = f"QRMI_TEST_SITE={self.environment['QRMI_TEST_SITE']}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found
