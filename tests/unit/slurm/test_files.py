# SPDX-License-Identifier: Apache-2.0
"""`qrmi slurm files` writes what this version came with, and overwrites nothing of the site's."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrmi_core.errors import InputError
from qrmi_core.slurm import files

ROOT = Path(__file__).parents[3]


def test_every_file_for_sites_is_written_as_it_is(tmp_path: Path) -> None:
    written = {each.path.relative_to(tmp_path).as_posix(): each for each in files.write(tmp_path)}
    assert "spank/qrmi.c" in written
    assert "README.md" not in written
    assert not [name for name in written if name.startswith("cluster/") or name.endswith((".so", ".pyc"))]
    for name, each in written.items():
        content = each.path.read_bytes()
        assert content == (ROOT / "slurm" / name).read_bytes()
        assert each.path.stat().st_mode & 0o777 == (0o755 if content.startswith(b"#!") else 0o644), name
        assert each.changed


def test_a_second_time_changes_nothing_but_a_wrong_mode(tmp_path: Path) -> None:
    first = files.write_texts(tmp_path, {"run": "#!/bin/sh\n", "text": "a\n"})
    assert [each.path.stat().st_mode & 0o777 for each in first] == [0o755, 0o644]
    (tmp_path / "run").chmod(0o600)
    before = (tmp_path / "run").stat().st_ino
    assert [each.changed for each in files.write_texts(tmp_path, {"run": "#!/bin/sh\n", "text": "a\n"})] == [False] * 2
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "run").stat().st_ino == before


def test_files_of_other_content_are_kept_and_all_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one").write_text("the site's")
    (tmp_path / "two").symlink_to("/nowhere")
    texts = {"new": "n", "sub/one": "ours", "two": "ours"}
    with pytest.raises(InputError, match=rf"nothing was written: {tmp_path}/sub/one, {tmp_path}/two; --force"):
        files.write_texts(tmp_path, texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub", "two"]
    assert (tmp_path / "sub" / "one").read_text() == "the site's"


def test_force_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    (tmp_path / "two").symlink_to(elsewhere)
    files.write_texts(tmp_path, {"two": "ours"}, force=True)
    assert (tmp_path / "two").read_text() == "ours"
    assert not (tmp_path / "two").is_symlink()
    assert elsewhere.read_text() == "kept"


def test_what_cannot_be_written_is_said_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: (Not a directory|File exists)"):
        files.write_texts(tmp_path / "file", {"a": "b"})
    (tmp_path / "directory" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        files.write_texts(tmp_path / "directory", {"a": "b"}, force=True)
    assert [path.name for path in (tmp_path / "directory").iterdir()] == ["a"]
