# SPDX-License-Identifier: Apache-2.0
"""The description of the administration's API is true, and nothing that fits it or does not is answered with a 500."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest
from aiohttp import web
from gateway_case import RESOURCES, Case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from munge_daemon import Munged

from qrmi_core.gateway.admin import admin_application

DOCUMENT: dict[str, Any] = json.loads(files("qrmi_core.gateway").joinpath("openapi.json").read_text())
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item if method in METHODS]
POOL = {"name": "both", "members": ["aer"]}


@pytest.fixture(scope="module")
def gateway(daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(tmp_path_factory.mktemp("gateway"), daemons.socket, node_addresses={"n2": ["127.0.0.2"]})
    case.config.write_text(json.dumps({"resources": RESOURCES, "pools": [POOL]}))
    with case.running():
        yield case


def check(method: str, path: str, status: int, told: Any) -> None:
    """The answer is one of those that the description has for the operation."""
    described = DOCUMENT["paths"][path][method.lower()]["responses"]
    assert str(status) in described, (method, path, status, told)
    response = described[str(status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(told)


def test_it_has_the_routes_that_there_are(gateway: Case) -> None:
    application: web.Application = admin_application(gateway.server.gateway, gateway.server._guard)
    routes = {
        (route.method.lower(), re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.resource.canonical))
        for route in application.router.routes()
        if route.resource is not None
    }
    assert routes == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "values", "expected"),
    [
        ("GET", "/healthz", {}, 200),
        ("GET", "/v1/leases", {}, 200),
        ("GET", "/v1/usage", {}, 200),
        ("GET", "/v1/resources", {}, 200),
        ("GET", "/v1/resources/{resource}/status", {"resource": "aer"}, 409),
        ("GET", "/v1/resources/{resource}/target", {"resource": "nothing"}, 404),
        ("POST", "/v1/leases/{lease}/tasks", {"lease": "0a" * 16}, 400),
        ("POST", "/v1/jobs/{job}/release", {"job": 4711}, 200),
    ],
)
def test_answers_are_as_it_says(
    gateway: Case, method: str, path: str, values: Mapping[str, Any], expected: int
) -> None:
    status, told = gateway.ask(method, path.format(**values))
    assert status == expected, told
    check(method, path, status, told)


def requests_made_up() -> st.SearchStrategy[Any]:
    import schemathesis  # takes seconds, in every worker that only collects

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    fitting: list[st.SearchStrategy[Any]] = [
        schema[path][method].as_strategy(generation_mode=mode)
        for method, path in OPERATIONS
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    ]
    return st.one_of(fitting)


def sent(gateway: Case, case: Any, socket: str | None) -> tuple[int, Any]:
    """What schemathesis made up, sent with a good credential for it."""
    from schemathesis.core import NotSet

    body = b"" if isinstance(case.body, NotSet) else case.body
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    target = case.formatted_path
    if case.query:
        target += f"?{urlencode(case.query, doseq=True)}"
    return gateway.ask(case.method.upper(), target, body, socket=socket)


@pytest.mark.slow
@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(case=st.deferred(requests_made_up), by_user=st.booleans())
def test_whatever_is_made_of_it_is_answered_as_it_says(
    gateway: Case, daemons: Munged, caplog: pytest.LogCaptureFixture, case: Any, by_user: bool
) -> None:
    caplog.set_level(logging.ERROR)
    status, told = sent(gateway, case, daemons.other if by_user else None)
    assert status < 500 or (status == 503 and told["error"]["transient"]), (status, told)
    assert "Traceback" not in json.dumps(told)
    if status not in {400, 404, 405}:  # paths that are none of these come to none of these operations
        check(case.method, case.operation.path, status, told)
    assert not [record for record in caplog.records if record.exc_info]
