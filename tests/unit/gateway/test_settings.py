# SPDX-License-Identifier: Apache-2.0
"""gateway.json and client.json: found in the places that the documents name, and every mistake told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrmi_core import ConfigurationError, environment
from qrmi_core.client_settings import load_client_settings
from qrmi_core.gateway.settings import load_gateway_settings

LEAST = {"qrmi_config": "/q.json", "state_dir": "/var/lib/qrmi", "listen": {"admin": "/run/qrmi/admin.sock"}}


def written(directory: Path, told: Any) -> Path:
    file = directory / "gateway.json"
    file.write_text(told if isinstance(told, str) else json.dumps(told))
    return file


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    file, settings = load_gateway_settings(written(tmp_path, LEAST))
    assert (file, settings.journal) == (tmp_path / "gateway.json", Path("/var/lib/qrmi/journal.sqlite"))
    assert (settings.grant_wait, settings.kill_grace, settings.poll_slurm, settings.operators) == (20, 30, 3, ())


def test_everything_can_be_said(tmp_path: Path) -> None:
    told = {
        **LEAST,
        "listen": {"admin": "/a.sock", "admin_tcp": "[::]:7811", "jobs": "0.0.0.0:7810", "metrics": "127.0.0.1:9"},
        "slurm_conf": "/etc/slurm/slurm.conf", "munge_socket": "/run/munge/s", "cluster": "c", "public_url": "https://g",
        "tls": {"cert": "/c.pem", "key": "/k.pem"}, "ca": "/ca.pem", "helper_socket": "/run/h.sock",
        "operators": ["alice"], "node_addresses": {"n1": ["10.0.0.1", "10.1.0.1"]}, "grant_wait": 5, "kill_grace": 2.5,
        "hold_off": 10, "poll_slurm": 1, "insecure": False, "log_level": "debug", "token_from": "any",
        "pasqal_hook": "/usr/lib/qrmi/hook",
    }  # fmt: skip
    _, settings = load_gateway_settings(written(tmp_path, told))
    assert settings.node_addresses == {"n1": ("10.0.0.1", "10.1.0.1")}
    assert json.loads(json.dumps(settings, default=lambda part: part.values_by_key())) == told


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"listen": {}}, r"listen: nobody could reach the gateway: admin \(a unix socket\), admin_tcp"),
        ({"listen": {"admn": "/a"}}, r"listen.admn: unknown key; did you mean admin\?"),
        ({"listen": {"admin": "admin.sock"}}, "listen.admin: an absolute path was expected"),
        ({"listen": {"admin": "/" + "a" * 120}}, "listen.admin: the path of a socket has at most 100 bytes"),
        ({"listen": {"admin_tcp": "7811"}}, 'listen.admin_tcp: "host:port" was expected'),
        ({"listen": {"admin_tcp": "0.0.0.0:99999"}}, 'listen.admin_tcp: "host:port" was expected'),
        ({"listen": {"admin_tcp": "0.0.0.0:7811"}}, "listen.admin_tcp: .* so TLS is needed"),
        ({"tls": {"cert": "/c.pem"}}, "tls.key: this key is missing"),
        ({"node_addresses": {"n1": ["node"]}}, r"node_addresses.n1\[0\]: an IPv4 address was expected"),
        ({"grant_wait": -1}, "grant_wait: "),
        ({"operators": "alice"}, "operators: "),
        ({"log_level": "loud"}, "log_level: "),
        ({"polls_slurm": 1}, r"polls_slurm: unknown key; did you mean poll_slurm\?"),
        ({"qrmi_config": 1}, "qrmi_config: "),
        ({"public_url": "head.example:7812"}, "public_url: http://host:port or https://host:port was expected, as in"),
        ({"public_url": "htps://head.example"}, "public_url: http://host:port or https://host:port was expected"),
        ({"public_url": "https://head.example:port"}, "public_url: http://host:port or https://host:port was expected"),
        ({"public_url": "unix:/run/jobs.sock"}, "public_url: http://host:port or https://host:port was expected"),
        ({"public_url": ""}, "public_url: http://host:port or https://host:port was expected"),
        (
            {"public_url": "HTTP://head.example:7812", "tls": {"cert": "/c.pem", "key": "/k.pem"}},
            "public_url: with tls the gateway speaks https only, .*HTTP://head.example:7812: write https://",
        ),
    ],
)
def test_each_mistake_has_its_place(tmp_path: Path, changed: dict[str, Any], expected: str) -> None:
    file = written(tmp_path, {**LEAST, **changed})
    with pytest.raises(ConfigurationError, match=f"{file}: {expected}"):
        load_gateway_settings(file)


def test_what_is_no_object(tmp_path: Path) -> None:
    for text, expected in (
        ("[]", "top level: an object was expected"),
        ("{", "line 1 column 2: not JSON"),
        ("", "empty"),
    ):
        with pytest.raises(ConfigurationError, match=expected):
            load_gateway_settings(written(tmp_path, text))


def test_insecure_is_said_aloud(tmp_path: Path) -> None:
    told = {**LEAST, "listen": {"admin_tcp": "0.0.0.0:7811"}, "insecure": True}
    assert load_gateway_settings(written(tmp_path, told))[1].insecure


def test_the_files_are_looked_for_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SITE_GATEWAY_CONFIG", tmp_path / "none.json")
    monkeypatch.setattr(environment, "SITE_CLIENT_CONFIG", tmp_path / "client.json")
    with pytest.raises(ConfigurationError, match="which gateway\\?"):
        load_gateway_settings()
    with pytest.raises(ConfigurationError, match="this host does not know the site's gateway"):
        load_client_settings()
    monkeypatch.setenv("QRMI_GATEWAY_CONFIG", str(written(tmp_path, LEAST)))
    assert load_gateway_settings()[0] == tmp_path / "gateway.json"
    (tmp_path / "client.json").write_text('{"url": "https://site:1/"}')
    assert load_client_settings().url == "https://site:1"
    other = tmp_path / "other.json"
    other.write_text('{"url": "unix:/run/a.sock", "resources": [{"name": "a", "type": "t"}]}')
    monkeypatch.setenv("QRMI_CLIENT_CONFIG", str(other))
    settings = load_client_settings()
    assert (settings.socket, settings.resources[0].lanes) == ("/run/a.sock", 1)
    assert load_client_settings(tmp_path / "client.json").socket is None


@pytest.mark.parametrize("url", ["", "ftp://a", "unix:a.sock", "http://u:p@host", "http://h?a=1", "host:1"])
def test_a_clients_address_is_checked(tmp_path: Path, url: str) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"url": url}))
    with pytest.raises(
        ConfigurationError, match=r"client.json: url: http://host:port, https://host:port or unix:/path"
    ):
        load_client_settings(tmp_path / "client.json")
