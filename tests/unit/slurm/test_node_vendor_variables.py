# SPDX-License-Identifier: Apache-2.0
"""What the prolog writes for vendors' own clients: known names, each for its use, and files that only root changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from node_case import LEASE, QPU_JOB, Gateway, Node, granted

HEAD = ["qrmi-state 1", "uid 1000", f"lease {LEASE}", "set QRMI_A=1"]


@pytest.fixture
def serve(node: Node) -> Iterator[Callable[..., Gateway]]:
    with ExitStack() as stack:

        def start(**answer: Any) -> Gateway:
            gateway = stack.enter_context(Gateway(node.munge_socket, granted(1000, answer, QRMI_A="1")).serving())
            node.configure(gateway.url)
            return gateway

        yield start


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    file.write_text("certificates")
    file.chmod(0o644)
    return file


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    directory = tmp_path / "hook"
    directory.mkdir(0o755)
    return directory


def test_each_use_has_a_line_of_its_own(node: Node, serve: Callable[..., Gateway], bundle: Path, hook: Path) -> None:
    variables = {
        "set": {"QISKIT_IBM_TOKEN": "s3cret", "IAM_URL": "https://head:7812", "QRMI_PASQAL_URL": "https://head:7812"},
        "default": {"SSL_CERT_FILE": str(bundle)},
        "extend": {"NO_PROXY": "head.example", "no_proxy": "[fe80::1]"},
        "of a later version": {"X": "y"},
    }
    serve(vendor=variables, pythonpath=str(hook))
    done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, done.log) == (0, "")
    assert node.state() == [
        *HEAD,
        "vendor set QISKIT_IBM_TOKEN=s3cret",
        "vendor set IAM_URL=https://head:7812",
        "vendor set QRMI_PASQAL_URL=https://head:7812",
        "vendor extend NO_PROXY=head.example",
        "vendor extend no_proxy=[fe80::1]",
        f"vendor extend PYTHONPATH={hook}",
        f"vendor default SSL_CERT_FILE={bundle}",
    ]


@pytest.mark.parametrize(("option", "more"), [("off", ["qpu-env off"]), ("on", []), ("off\nset A=B", [])])
def test_the_jobs_option_is_kept_for_its_steps(
    node: Node, serve: Callable[..., Gateway], option: str, more: list[str]
) -> None:
    serve()
    assert node.run("qrmi-prolog", {**QPU_JOB, "SPANK_QPU_ENV": option}).code == 0
    assert node.state() == [*HEAD, *more]


UNFIT: list[dict[str, Any]] = [
    *({"vendor": {use: {"LD_PRELOAD": "/tmp/x"}}} for use in ("set", "default", "extend")),
    {"vendor": {"set": {"QISKIT_IBM_TOKEN QISKIT_IBM_URL": "x"}}}, {"vendor": {"set": {"": "x"}}},
    {"vendor": {"set": {"QRMI_A": "x"}}}, {"vendor": {"set": {"REQUESTS_CA_BUNDLE": "/x"}}},
    {"vendor": {"set": {"NO_PROXY": "*"}}}, {"vendor": {"extend": {"PYTHONPATH": "/tmp"}}},
    {"vendor": {"set": {"PYTHONPATH": "/tmp"}}}, {"vendor": {"default": {"PATH": "/tmp"}}},
    {"vendor": {"set": {"IAM_URL": "x\nset LD_PRELOAD=/tmp/x"}}}, {"vendor": {"set": {"IAM_URL": 1}}},
    {"vendor": {"set": {"IAM_URL": None}}}, {"vendor": {"set": {"IAM_URL\n": "x"}}},
    {"vendor": {"extend": {"NO_PROXY": "a,b"}}}, {"vendor": {"extend": {"NO_PROXY": ""}}},
    {"vendor": {"extend": {"NO_PROXY": "a\n"}}}, {"vendor": {"extend": {"NO_PROXY": "*"}}},
    {"vendor": []}, {"vendor": None}, {"vendor": {"set": []}}, {"vendor": {"default": None}},
    {"pythonpath": 1}, {"pythonpath": None}, {"pythonpath": ["/tmp"]}, {"environment": {"QISKIT_IBM_TOKEN": "x"}},
    {"defaults": {"NO_PROXY": "x"}}, {"absent": ["QISKIT_IBM_TOKEN"]},
]  # fmt: skip


@pytest.mark.parametrize("answer", UNFIT, ids=str)
def test_nobody_in_the_gateways_place_sets_other_variables(
    node: Node, serve: Callable[..., Gateway], answer: dict[str, Any]
) -> None:
    serve(**answer)
    done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, "Traceback" in done.log) == (0, False)
    assert len(node.state()) == 3
    assert node.state()[2].startswith("refused the gateway ")


PATHS = {
    "missing": "/nowhere/at/all", "relative": "ca.pem", "empty": "", "list": "{}:/tmp", "comma": "{},",
    "line": "{}\nset A=B", "NUL": "{}\0", "surrogate": "{}\ud800", "blank": "{} ",
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_that_is_none_is_left_out(
    node: Node, serve: Callable[..., Gateway], bundle: Path, hook: Path, path: str
) -> None:
    serve(pythonpath=path.format(hook) or "relative")
    assert_left_out(node, "PYTHONPATH")
    if path.isprintable():
        serve(vendor={"default": {"SSL_CERT_FILE": path.format(bundle)}})
        assert_left_out(node, "SSL_CERT_FILE")


def assert_left_out(node: Node, name: str) -> None:
    done = node.run("qrmi-prolog", QPU_JOB)
    assert (done.code, "Traceback" in done.log) == (0, False)
    assert f"left out: vendor {'extend' if name == 'PYTHONPATH' else 'default'} {name}=" in done.log
    assert node.state() == HEAD


@pytest.mark.parametrize("what", ["itself", "above", "sticky", "link"])
def test_what_others_may_change_is_left_out(
    node: Node, serve: Callable[..., Gateway], tmp_path: Path, what: str
) -> None:
    above = tmp_path / "above"
    hook = above / "hook"
    hook.mkdir(0o755, parents=True)
    named = hook
    if what == "link":
        hook.chmod(0o777)
        named = tmp_path / "link"
        named.symlink_to(hook)
    else:
        {"itself": hook, "above": above, "sticky": hook}[what].chmod(0o1777 if what == "sticky" else 0o775)
    serve(pythonpath=str(named))
    assert_left_out(node, "PYTHONPATH")


def test_a_sticky_directory_above_is_fine_and_links_are_followed_once(
    node: Node, serve: Callable[..., Gateway], tmp_path: Path
) -> None:
    above = tmp_path / "above"
    hook = above / "hook"
    hook.mkdir(0o755, parents=True)
    above.chmod(0o1777)
    link = above / "link"
    link.symlink_to(hook)
    serve(pythonpath=str(link))
    assert node.run("qrmi-prolog", QPU_JOB).log == ""
    assert node.state() == [*HEAD, f"vendor extend PYTHONPATH={hook}"]
