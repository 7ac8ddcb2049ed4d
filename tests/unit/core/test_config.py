# SPDX-License-Identifier: Apache-2.0
"""qrmi_config.json: upstream's form loads, and every mistake is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrmi_core import ConfigurationError
from qrmi_core.config import load, load_site


def written(directory: Path, *resources: Any, **keys: Any) -> Path:
    path = directory / "qrmi_config.json"
    path.write_text(json.dumps({"resources": list(resources), **keys}))
    return path


ENTRY = {"name": "fez", "type": "aer-simulator", "environment": {}}


def test_upstreams_form_loads(tmp_path: Path) -> None:
    (resource,) = load(
        written(
            tmp_path,
            {
                "name": "ibm_fez",
                "type": "ibm-quantum-compute-service",
                "is_dynamic": False,
                "environment": {"QRMI_IBM_QCS_ENDPOINT": "https://example.org/api/v1"},
            },
        )
    )
    assert (resource.name, resource.type, resource.lanes) == ("ibm_fez", "ibm-quantum-compute-service", 1)
    assert resource.values() == {"QRMI_IBM_QCS_ENDPOINT": "https://example.org/api/v1"}


def test_secrets_are_read_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("hush\n")
    monkeypatch.setenv("SITE_TOKEN", "hush too")
    block = {"QRMI_KEY": {"file": str(tmp_path / "key")}, "QRMI_TOKEN": {"env": "SITE_TOKEN"}}
    (resource,) = load(written(tmp_path, {**ENTRY, "environment": block}))
    assert resource.values() == {"QRMI_KEY": "hush", "QRMI_TOKEN": "hush too"}
    assert "hush" not in repr(resource)
    monkeypatch.delenv("SITE_TOKEN")
    with pytest.raises(ConfigurationError, match=r"fez\.environment\.QRMI_TOKEN: the variable SITE_TOKEN is not set"):
        resource.values()
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigurationError, match=r"fez\.environment\.QRMI_KEY: .*key cannot be read: No such file"):
        resource.values()


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_a_file_that_holds_no_value_is_named_with_its_entry(tmp_path: Path, content: str) -> None:
    key = tmp_path / "key"
    key.write_text(content)
    (resource,) = load(written(tmp_path, {**ENTRY, "environment": {"QRMI_KEY": {"file": str(key)}}}))
    with pytest.raises(
        ConfigurationError, match=rf"^fez\.environment\.QRMI_KEY: {key} is empty: the value was expected"
    ):
        resource.values()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "lane": 2}, r"resources\[0\]\.lane: unknown key; did you mean lanes\?"),
        ({**ENTRY, "lanes": 0}, r"resources\[0\]\.lanes: at least 1 was expected"),
        ({**ENTRY, "lanes": "2"}, r"resources\[0\]\.lanes: a whole number was expected"),
        ({**ENTRY, "access": "free"}, r"resources\[0\]\.access: .*'gateway', 'direct' or 'local'"),
        (
            {**ENTRY, "environment": {"QRMI_X": 1}},
            r'resources\[0\]\.environment\.QRMI_X: text in quotes, \{"file": "path"\} or',
        ),
        ({**ENTRY, "environment": {"QRMI_X": {"fil": "k"}}}, r"resources\[0\]\.environment\.QRMI_X"),
        ({"name": "fez", "type": "x"}, r"resources\[0\]\.environment: this key is missing"),
        ({**ENTRY, "name": "ibm-fez"}, r"resources\[0\]\.name: 'ibm-fez' cannot name a resource: a name begins with"),
        ({**ENTRY, "name": ""}, r"resources\[0\]\.name: text was expected, and it is empty"),
        ([], r"resources\[0\]: an object was expected"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, entry: Any, message: str) -> None:
    path = written(tmp_path, entry)
    with pytest.raises(ConfigurationError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("fez", r"resources\[1\]\.name: fez is there already: names are unique"),
        ("FEZ", r"resources\[1\]\.name: FEZ is the same name as fez, case ignored"),
    ],
)
def test_names_are_unique(tmp_path: Path, second: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(written(tmp_path, ENTRY, {**ENTRY, "name": second}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"resources": [}', r"line 1 column 16: not JSON: "),
        ('{\n  "resources": nope\n}', r"line 2 column 16: not JSON"),
        ('{"resources": [], "resources": []}', r"line 1 column 19: the key 'resources' stands twice in one object"),
        ('{"resources": [{"name": "a"}, {"name": "a",\n  "name": "b"}]}', r"line 2 column 3: the key 'name' stands"),
        (r'{"x}{": "\"x\": {", "n": {"n": 1}, "\u006e": [{}]}', r"line 1 column 36: the key 'n' stands twice"),
        ("[]", "top level: an object was expected, as in"),
        (" \n", "it is empty; has what writes it ended"),
        ('{"resource": []}', "resources: this key is missing|resource: unknown key; did you mean resources"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_such_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qrmi_config.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.json: it cannot be read: No such file or directory"):
        load(tmp_path / "missing.json")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8 text"):
        load(tmp_path / "binary")


def _with_pools(tmp_path: Path, pools: Any) -> Path:
    entries = [
        {"name": "fez", "type": "aer-simulator", "environment": {}, "lanes": 2},
        {"name": "kyiv", "type": "aer-simulator", "environment": {}},
        {"name": "fresnel", "type": "pulser-simulator", "environment": {}},
    ]
    file = tmp_path / "qrmi_config.json"
    file.write_text(json.dumps({"resources": entries, "pools": pools}))
    return file


def test_a_pool_is_a_name_for_resources_of_one_type(tmp_path: Path) -> None:
    site = load_site(_with_pools(tmp_path, [{"name": "ibm", "members": ["fez", "kyiv"], "description": "either"}]))
    assert [(pool.name, pool.members, site.pool_lanes(pool)) for pool in site.pools] == [("ibm", ("fez", "kyiv"), 3)]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"name": "FEZ", "members": ["fez"]}, r"pools\[0\].name: FEZ is the same name as fez, case ignored"),
        ({"name": "a-b", "members": ["fez"]}, r"pools\[0\].name: 'a-b' cannot name a pool"),
        ({"name": "p", "members": []}, r"pools\[0\].members: "),
        ({"name": "p", "members": ["fez", "garnet"]}, r"\.members\[1\]: no resource is named garnet: there are fez, "),
        ({"name": "p", "members": ["fez", "kiev"]}, r"\.members\[1\]: no resource is named kiev: did you mean kyiv\?"),
        ({"name": "p", "members": ["fez", "fez"]}, r"pools\[0\].members: fez stands in it twice"),
        ({"name": "p", "members": ["fez", "fresnel"]}, r"members of a pool are of one type.*fresnel is of type pulser"),
        ({"name": "p", "members": ["fez"], "lanes": 3}, r"pools\[0\].lanes: the members of p have 2 lanes together"),
        ({"name": "p", "members": ["fez"], "lane": 3}, r"pools\[0\].lane: unknown key; did you mean lanes\?"),
    ],
)
def test_a_mistake_in_a_pool_is_named_with_its_place(tmp_path: Path, pool: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        load_site(_with_pools(tmp_path, [pool]))
