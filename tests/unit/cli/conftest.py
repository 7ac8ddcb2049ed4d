# SPDX-License-Identifier: Apache-2.0
"""A site for the command line, with tiny engines as plug-ins."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TINY_ENGINE = HERE.parent / "core"
sys.path.insert(0, str(HERE))

from cli_site import SECONDS, Site  # noqa: E402

ENTRY_POINTS = """\
[qrmi.engines]
tiny-simulator = tiny_engine:TinyEngine
watched = site_plugin:Watched
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    metadata = tmp_path / "plugins" / "site_plugin-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: site-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [metadata.parent, HERE, TINY_ENGINE])),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "ACQUISITIONS": str(tmp_path / "acquisitions"),
        "QRMI_TEST_SITE": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    site = Site(work, metadata.parent, environment)
    yield site
    for pid in site.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in site.started:
        process.wait(SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
