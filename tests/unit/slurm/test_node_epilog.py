# SPDX-License-Identifier: Apache-2.0
"""Slurm's Epilog and EpilogSlurmctld: the word that a job is over, soon or not at all, and no state file left."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from munge_daemon import Munged
from node_case import JOB, LEASE, QPU_JOB, Answer, Gateway, Node, raw_server, refused

DONE: Answer = (200, {})


@pytest.fixture
def node(tmp_path: Path, daemon: Munged) -> Node:
    node = Node(tmp_path, daemon.socket)
    node.state_dir.mkdir(0o700)
    return node


@pytest.fixture
def gateway(node: Node) -> Iterator[Gateway]:
    with Gateway(node.munge_socket, DONE).serving() as running:
        node.configure(running.url)
        yield running


def write(node: Node, *lines: str) -> None:
    (node.state_dir / "42").write_text("".join(f"{line}\n" for line in lines))
    (node.state_dir / "42").chmod(0o600)


def test_the_lease_is_given_back_by_its_id(node: Node, gateway: Gateway) -> None:
    write(node, "qrmi-state 1", "uid 1000", f"lease {LEASE}", "set TOKEN=s3cret")
    (node.state_dir / "43").write_text("another job's")
    done = node.run("qrmi-epilog", QPU_JOB)
    assert (done.code, done.log) == (0, "")
    (seen,) = gateway.seen
    assert (seen.path, seen.body, seen.uid) == (f"/v1/leases/{LEASE}/node-done", {"node": "n1"}, os.getuid())
    assert [file.name for file in node.state_dir.iterdir()] == ["43"]


@pytest.mark.parametrize(
    "lines",
    [None, ("qrmi-state 1", "uid 1000", "refused the vendor is away"), ("qrmi-state 2", f"lease {LEASE}"), ("",),
     ("qrmi-state 1", "uid 1000", "lease ../../jobs/1/release")],
)  # fmt: skip
def test_without_a_lease_every_one_of_the_job_until_now_is_meant(
    node: Node, gateway: Gateway, lines: tuple[str, ...] | None
) -> None:
    if lines is not None:
        write(node, *lines)
    begun = time.time()
    done = node.run("qrmi-epilog", QPU_JOB)
    assert (done.code, done.log) == (0, "")
    (seen,) = gateway.seen
    before = seen.body.pop("before")
    assert (seen.path, seen.body) == ("/v1/jobs/42/node-done", {"node": "n1"})
    assert begun <= before <= time.time() + 1
    assert isinstance(before, int)
    assert list(node.state_dir.iterdir()) == []


def test_a_state_file_is_enough_to_report(node: Node, gateway: Gateway) -> None:
    write(node, "qrmi-state 1", "uid 1000", f"lease {LEASE}")
    assert node.run("qrmi-epilog", JOB).code == 0
    assert [seen.path for seen in gateway.seen] == [f"/v1/leases/{LEASE}/node-done"]


def test_a_link_in_its_place_is_not_followed(node: Node, gateway: Gateway) -> None:
    elsewhere = node.directory / "elsewhere"
    elsewhere.write_text(f"qrmi-state 1\nuid 1000\nlease {LEASE}\n")
    (node.state_dir / "42").symlink_to(elsewhere)
    assert node.run("qrmi-epilog", QPU_JOB).code == 0
    assert [seen.path for seen in gateway.seen] == ["/v1/jobs/42/node-done"]
    assert (elsewhere.exists(), list(node.state_dir.iterdir())) == (True, [])


def test_a_job_without_a_qpu_starts_no_python(node: Node) -> None:
    done = node.run("qrmi-epilog", JOB, PYTHON="/nowhere/python3")
    assert (done.code, done.log) == (0, "")


@pytest.mark.parametrize("job", ["", "../42", "42 43"])
def test_what_is_no_job_id_goes_nowhere(node: Node, gateway: Gateway, job: str) -> None:
    write(node, "qrmi-state 1", "uid 1000", f"lease {LEASE}")
    done = node.run("qrmi-epilog", {**QPU_JOB, "SLURM_JOB_ID": job})
    assert (done.code, gateway.seen, (node.state_dir / "42").exists()) == (0, [], True)


def test_without_python_no_file_stays(node: Node) -> None:
    write(node, "qrmi-state 1", "uid 1000", f"lease {LEASE}")
    done = node.run("qrmi-epilog", QPU_JOB, PYTHON="/nowhere/python3")
    assert (done.code, list(node.state_dir.iterdir())) == (0, [])


@pytest.mark.parametrize("script", ["qrmi-epilog", "qrmi-epilogslurmctld"])
@pytest.mark.parametrize("trouble", ["nobody", "silent", "refused", "no configuration"])
def test_a_gateway_that_does_not_hear_it_costs_a_moment(node: Node, script: str, trouble: str) -> None:
    write(node, "qrmi-state 1", "uid 1000", f"lease {LEASE}", "set TOKEN=s3cret")
    job = {**QPU_JOB, "SLURM_JOB_LICENSES": "qpu_ibm_fez:1"}
    if trouble == "no configuration":
        done = node.run(script, job)
    elif trouble == "nobody":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            node.configure(f"http://127.0.0.1:{taken.getsockname()[1]}")
        done = node.run(script, job)
    elif trouble == "silent":
        with raw_server(lambda connection: connection.recv(1) and None) as url:
            node.configure(url)
            done = node.run(script, job)
    else:
        with Gateway(node.munge_socket, refused("not your node", transient=False)).serving() as gateway:
            node.configure(gateway.url)
            done = node.run(script, job)
    assert done.code == 0
    assert done.seconds < 8
    assert done.log.startswith(f"qrmi {script.removeprefix('qrmi-')}: job 42: ")
    assert len(done.log.splitlines()) == 1
    assert "s3cret" not in done.log
    assert (node.state_dir / "42").exists() == (script == "qrmi-epilogslurmctld")


def test_the_controller_says_that_a_job_with_a_qpu_ends(node: Node, gateway: Gateway) -> None:
    done = node.run("qrmi-epilogslurmctld", {**JOB, "SLURM_JOB_LICENSES": "matlab:1,qpu_ibm_fez:1"})
    assert (done.code, done.log) == (0, "")
    assert [(seen.path, seen.body) for seen in gateway.seen] == [("/v1/jobs/42/ending", {})]


@pytest.mark.parametrize("licences", [{}, {"SLURM_JOB_LICENSES": "matlab:1"}])
def test_the_controller_says_nothing_of_other_jobs(node: Node, gateway: Gateway, licences: dict[str, str]) -> None:
    done = node.run("qrmi-epilogslurmctld", {**JOB, **licences}, PYTHON="/nowhere/python3")
    assert (done.code, done.log, gateway.seen) == (0, "", [])
