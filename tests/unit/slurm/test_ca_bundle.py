# SPDX-License-Identifier: Apache-2.0
"""The certificates that jobs trust: the system's and the site's."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from qrmi_core.slurm.ca_bundle import ca_bundle
from qrmi_core.slurm.configure import QPU, Site, files


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "roots.pem"
    first, second = (trustme.CA().cert_pem.bytes() for _ in range(2))
    path.write_bytes(b"# a comment, \xff\n" + first + second)
    monkeypatch.setattr("qrmi_core.trust.USUAL", (str(tmp_path / "nowhere"), str(path)))
    return path


def test_it_is_the_systems_and_the_sites(roots: Path, tmp_path: Path) -> None:
    own = tmp_path / "ca.pem"
    own.write_bytes(trustme.CA().cert_pem.bytes())
    texts = files([QPU("fez", "aer-simulator", 1)], Site("https://head:7811", str(own)))
    assert own.read_text().strip() in texts["ca-bundle.pem"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=texts["ca-bundle.pem"])
    assert len(context.get_ca_certs()) == 3


def test_twice_the_same_is_once(roots: Path) -> None:
    assert (ca_bundle(roots) or "").count("BEGIN") == 2


def test_there_is_none_without_the_sites_file(roots: Path, tmp_path: Path) -> None:
    assert ca_bundle(tmp_path / "nowhere.pem") is None
    site = Site("https://head:7811", str(tmp_path / "nowhere.pem"))
    assert "ca-bundle.pem" not in files([QPU("fez", "aer-simulator", 1)], site)
