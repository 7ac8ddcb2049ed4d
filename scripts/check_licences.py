# SPDX-License-Identifier: Apache-2.0
"""Every file of the repository says its licence, in its first lines or through REUSE.toml, and says the right one.

Apache-2.0 everywhere, except for what Slurm itself loads: the SPANK plugin and job_submit.lua are
GPL-2.0-or-later. The check follows the REUSE specification, https://reuse.software/spec-3.3/.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

HEADER = re.compile(r"SPDX-License-Identifier:\s*(?P<licence>[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*)")
HEADER_LINES = 5
LOADED_BY_SLURM = ("slurm/spank/*", "slurm/*.lua")


def tracked_files(root: Path) -> list[str]:
    """The repository's files, new ones that nobody has added yet included."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted({name for name in listing.split("\0") if name and (root / name).is_file()})


def annotated_patterns(root: Path) -> list[tuple[str, str]]:
    """(pattern, licence) of each annotation in REUSE.toml."""
    with (root / "REUSE.toml").open("rb") as file:
        annotations = tomllib.load(file)["annotations"]
    return [(pattern, entry["SPDX-License-Identifier"]) for entry in annotations for pattern in entry["path"]]


def stated_licence(root: Path, name: str, annotations: list[tuple[str, str]]) -> str | None:
    """The licence that a file states; a header counts for more than REUSE.toml."""
    try:
        head = "\n".join((root / name).read_text().splitlines()[:HEADER_LINES])
    except UnicodeDecodeError:
        head = ""
    found = HEADER.search(head)
    if found:
        return found["licence"]
    return next((licence for pattern, licence in annotations if fnmatchcase(name, pattern)), None)


def mistakes(root: Path) -> list[str]:
    """One line for each file that states no licence, or another than its place asks for."""
    annotations = annotated_patterns(root)
    found = []
    for name in tracked_files(root):
        if name.startswith("LICENSES/"):
            continue
        loaded_by_slurm = any(fnmatchcase(name, pattern) for pattern in LOADED_BY_SLURM)
        expected = "GPL-2.0-or-later" if loaded_by_slurm else "Apache-2.0"
        stated = stated_licence(root, name, annotations)
        if stated is None:
            found.append(f"{name}: no line 'SPDX-License-Identifier: {expected}' in its first {HEADER_LINES} lines")
        elif stated != expected:
            found.append(f"{name}: states {stated}, but files of this place are {expected}")
        elif not (root / "LICENSES" / f"{stated}.txt").exists():
            found.append(f"{name}: states {stated}, whose text is not in LICENSES/")
    return found


if __name__ == "__main__":
    problems = mistakes(Path(__file__).resolve().parent.parent)
    sys.exit("\n".join(problems) or 0)
