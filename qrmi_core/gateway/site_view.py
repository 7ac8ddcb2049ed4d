# SPDX-License-Identifier: Apache-2.0
"""slurmctld as the gateway sees it: asked in threads, once for all who want to know the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from qrmi_core import munge
from qrmi_core.gateway.auth import Caller, Hosts
from qrmi_core.gateway.settings import GatewaySettings
from qrmi_core.leases import Holder, JobKey
from qrmi_core.slurm.controller import Controller, ControllerUnreachable, SlurmJob

__all__ = ["SlurmSide"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

THREADS = 8
HEALTH_SECONDS = 3.0
_SLURM_USER = re.compile(r".*\((\d+)\)")
_HOST = re.compile(r"([^()]+)(?:\(([^()]+)\))?")


class SlurmSide:
    """Jobs, hosts and the cluster's name. Used in one event loop; only the constructor and :meth:`own` block."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._controller = Controller(Path(settings.slurm_conf) if settings.slurm_conf else None)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="slurm")
        self._jobs: dict[int, asyncio.Task[SlurmJob | None]] = {}
        self._cluster = settings.cluster
        self._slurm_uid: int | None = None
        self._controllers: tuple[str, ...] = ()
        self._own: tuple[str, ...] = ()
        self._asked = float("-inf")
        self.has_accounting: bool | None = None
        """Whether the cluster has a slurmdbd; None until slurmctld has told."""
        self.state = "ok"
        self.hosts = self._hosts(settings)

    def own(self, socket: str | None) -> None:
        """Learn which address this host's credentials have.

        Raises:
            MungeUnavailable: munged does not run here.
        """
        credential = munge.decode(munge.encode(socket=socket), socket=socket)
        self._own = (credential.address,)

    def configure(self, settings: GatewaySettings) -> None:
        """Go on with other operators and addresses."""
        self.hosts = self._hosts(settings)

    def _hosts(self, settings: GatewaySettings) -> Hosts:
        if not self._own:
            self.own(settings.munge_socket)
        return Hosts(
            self._controller.node_addresses,
            further=settings.node_addresses,
            own=self._own,
            operators=settings.operators,
        )

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ask(self, question: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Ask in a thread; whether slurmctld answers is kept for who wants to know.

        Raises:
            ControllerUnreachable: it does not.
        """
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, question, *arguments)
        except ControllerUnreachable as error:
            if self.state == "ok":
                _log.warning("%s", error)
            self.state = str(error)
            raise
        if self.state != "ok":
            _log.warning("slurmctld answers again")
        self.state = "ok"
        return answer

    async def job(self, job_id: int) -> SlurmJob | None:
        """One job, asked for once where many nodes of it start at the same time."""
        task = self._jobs.get(job_id)
        if task is None:
            task = self._jobs[job_id] = asyncio.ensure_future(self.ask(self._controller.job, job_id))
            task.add_done_callback(lambda _: self._jobs.pop(job_id, None))
        return await asyncio.shield(task)

    async def alive(self) -> Mapping[int, tuple[JobKey, float | None]]:
        """The jobs that are not over: which run each is, and when it ends at most."""
        await self.remember()
        jobs = await self.ask(self._controller.jobs)
        return {job.id: (self._key(job), job.ends) for job in jobs.values() if not job.is_over}

    async def holder(self, job: SlurmJob) -> Holder:
        """The allocation that a lease is for."""
        await self.remember()
        return Holder(
            self._key(job),
            uid=job.uid,
            user=job.user,
            account=job.account,
            nodes=job.nodes,
            ends=job.ends,
            batch=job.batch,
            array=job.array,
        )

    def _key(self, job: SlurmJob) -> JobKey:
        return JobKey(self._cluster or "", job.id, job.submitted, job.restarts)

    async def remember(self) -> None:
        """Learn once what does not change while slurmctld runs."""
        if self._slurm_uid is not None:
            return
        told = await self.ask(self._controller.config)
        self._cluster = self._cluster or told.get("ClusterName") or "cluster"
        hosts = (_HOST.fullmatch(value) for key, value in told.items() if key.startswith("SlurmctldHost"))
        self._controllers = tuple(match[2] or match[1] for match in hosts if match)
        match = _SLURM_USER.fullmatch(told.get("SlurmUser", ""))
        self._slurm_uid = int(match[1]) if match else 0
        self.has_accounting = told.get("AccountingStorageType", "").rpartition("/")[2] not in {"", "none", "(null)"}

    async def health(self) -> str:
        """``ok``, or why slurmctld does not answer; asked every few seconds at most."""
        now = time.monotonic()
        if now - self._asked > HEALTH_SECONDS:
            self._asked = now
            with contextlib.suppress(ControllerUnreachable, TimeoutError):
                await asyncio.wait_for(self.ask(self._controller.licenses), HEALTH_SECONDS)
        return self.state

    async def is_controller(self, caller: Caller) -> bool:
        """True for root and SlurmUser on the host of slurmctld."""
        await self.remember()
        if caller.uid not in {0, self._slurm_uid}:
            return False
        if self.hosts.is_own(caller):
            return True
        return any([await self.ask(self.hosts.is_at, caller, host) for host in self._controllers])
