# SPDX-License-Identifier: Apache-2.0
"""The certificates that jobs trust: the system's and the site's."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from qrmi_core.cli.slurm import configure
from qrmi_core.slurm.ca_bundle import ca_bundle
from qrmi_core.slurm.configure import QPU, Site, files, no_bundle


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


def test_there_is_none_without_the_sites_file_which_is_said(
    roots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "nowhere.pem"
    assert ca_bundle(absent) is None
    config = tmp_path / "qrmi_config.json"
    config.write_text('{"resources": [{"name": "fez", "type": "aer-simulator", "environment": {}}]}')
    told = {"config": config, "output": tmp_path / "out", "gateway": "https://head:7811"}
    configure(**told, ca=str(absent))
    assert not (tmp_path / "out" / "ca-bundle.pem").exists()
    assert capsys.readouterr().err == (
        f"qrmi: {absent} is not on this host, so ca-bundle.pem is not among the files, which is for jobs to trust "
        f"the gateway (`ca` in gateway.json): run this again on the host that has it\n"
    )
    configure(**told, force=True)
    assert not capsys.readouterr().err


def test_there_is_none_without_the_systems_which_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrmi_core.slurm.ca_bundle.system_roots", lambda: None)
    own = tmp_path / "ca.pem"
    own.write_bytes(trustme.CA().cert_pem.bytes())
    site = Site("https://head:7811", str(own))
    said = no_bundle(site, files([QPU("fez", "aer-simulator", 1)], site)) or ""
    assert said.startswith("the system's certificates are not on this host, so ca-bundle.pem is not among the files")
