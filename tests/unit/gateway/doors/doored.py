# SPDX-License-Identifier: Apache-2.0
"""A gateway with doors for jobs, and leases that were granted as if a job had asked for them from this host."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from gateway_case import Case

from qrmi_core.gateway.service import Gateway
from qrmi_core.leases import Holder, JobKey, LeaseRecord
from qrmi_core.leases.keeper import LeaseKeeper
from qrmi_core.slurm.cluster import free_ports

__all__ = ["NODE", "Doored", "Job", "doored"]

NODE = "n1"
PATIENCE = 60.0
HOME = "127.0.0.1"
JOB_IDS = itertools.count(100)
SCONTROL = f"""#!/bin/sh
case "$*" in "show nodes"*) echo "NodeName={NODE} Arch=x86_64 NodeAddr={HOME}";; *) exit 1;; esac
"""
"""In slurmctld's place: says where the nodes are and nothing of jobs, so that nothing is done about these."""

_Answer = TypeVar("_Answer")


@dataclass
class Job:
    """A job with a lease: what it is told, its token, and how it asks."""

    lease: str
    token: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    url: str
    ca: str | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = HOME,
    ) -> tuple[int, Any]:
        """Status and decoded body; bytes and None are sent as they are, all else as JSON; from ``source``."""
        status, _, told = self.asked(method, path, body, token=token, headers=headers, source=source)
        return status, told

    def asked(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = HOME,
    ) -> tuple[int, dict[str, str], Any]:
        """The same with the headers of the answer."""
        scheme, _, where = self.url.partition("://")
        host, _, port = where.partition(":")
        sent = {"Authorization": f"Bearer {token or self.token}"}
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        sent.update(headers or {})
        connection: http.client.HTTPConnection
        if scheme == "https":
            context = ssl.create_default_context(cafile=self.ca)
            connection = http.client.HTTPSConnection(
                host, int(port), timeout=PATIENCE, context=context, source_address=(source, 0)
            )
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE, source_address=(source, 0))
        try:
            connection.request(method, path, body, {key: value for key, value in sent.items() if value})
            answer = connection.getresponse()
            text = answer.read()
            told = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, told, json.loads(text) if "json" in told.get("content-type", "") and text else text
        finally:
            connection.close()

    def run(
        self, program: str | Path, home: Path, *arguments: str, timeout: float = 200.0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A program of the job's, a file or text, in a process that has the job's variables and few others."""
        script = [str(program)] if isinstance(program, Path) else ["-c", program]
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "PYTHONWARNINGS": "ignore", **self.environment, **variables,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, *script, *arguments],
            env=environment, cwd=home, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip


class Doored(Case):
    """A gateway whose ``listen.jobs`` is on a free port; jobs run on the node n1, which is at 127.0.0.1."""

    def __init__(
        self, directory: Path, socket: str, resources: Sequence[Any], *, host: str = HOME, ca: Path | None = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        self.jobs_port = free_ports(1)
        self.ca = str(ca) if ca is not None else None
        self.url = f"{'https' if 'tls' in settings else 'http'}://{host}:{self.jobs_port}"
        listen = {"admin": str(directory / "admin.sock"), "jobs": f"{host}:{self.jobs_port}"}
        commands = directory / "bin"
        commands.mkdir(exist_ok=True)
        (commands / "scontrol").write_text(SCONTROL)
        (commands / "scontrol").chmod(0o755)
        (directory / "slurm.conf").touch()
        self.path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        settings = {"listen": listen, "slurm_conf": str(directory / "slurm.conf"), "log_level": "debug", **settings}
        if self.ca is not None:
            settings["ca"] = self.ca
        super().__init__(directory, socket, resources=list(resources), **settings)

    @property
    def gateway(self) -> Gateway:
        """The gateway itself, while it runs in this process."""
        return self.server.gateway

    @property
    def keeper(self) -> LeaseKeeper:
        """Its leases."""
        return self.gateway.keeper

    def do(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Something done in the gateway's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def granted(self, *resources: str, uid: int = 0, account: str = "", seconds: float | None = 3600.0) -> Job:
        """A new job of a user, with a lease of these resources; it may run so many seconds."""
        return self.do(self._granted(resources, uid, account, seconds))

    async def _granted(self, resources: Sequence[str], uid: int, account: str, seconds: float | None) -> Job:
        await self.gateway.until_ready()
        ends = None if seconds is None else time.time() + seconds
        key = JobKey("c", next(JOB_IDS), int(time.time()), 0)
        holder = Holder(key, uid, str(uid), account, (NODE,), ends)
        wants = dict.fromkeys(resources, 1)
        record: LeaseRecord = await self.gateway.within("grant", lambda: self.keeper.grant(holder, wants, wait=20.0))
        return await self._job(record)

    async def _job(self, record: LeaseRecord) -> Job:
        token = await self.gateway.doors.tokens.mint(record.id)
        told = await self.gateway.within("journal", self.gateway.resources.of_lease, record, token)
        variables = {**told.vendor.defaults, **told.vendor.always, **told.defaults, **told.environment}
        if told.no_proxy is not None:
            variables |= {"NO_PROXY": told.no_proxy, "no_proxy": told.no_proxy}
        return Job(record.id, token, variables, self.url, self.ca)

    def release(self, job: Job) -> None:
        """The job is over."""
        self.do(self.gateway.release(job.lease, "the job is over"))


@contextlib.contextmanager
def doored(directory: Path, socket: str, resources: Sequence[Any], **settings: Any) -> Iterator[Doored]:
    """A running gateway in front of these resources of qrmi_config.json."""
    case = Doored(directory, socket, resources, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", case.path)
        with case.running():
            yield case
