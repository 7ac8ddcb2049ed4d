# SPDX-License-Identifier: Apache-2.0
"""The gateway's work, without HTTP: leases for jobs that slurmctld knows, and their end when it knows them no more.

One event loop; what blocks (slurmctld, vendors, the journal) runs in threads, a bounded number for each kind, so that a
vendor that does not answer keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qrmi_core import polling
from qrmi_core.config import load_site
from qrmi_core.errors import ConfigurationError, LeaseRefused, QRMIError
from qrmi_core.gateway.doors.door import Door
from qrmi_core.gateway.doors.doors import Doors
from qrmi_core.gateway.environments import Environments, JobDoors, JobVariables
from qrmi_core.gateway.helper_client import HelperClient, lend_credentials
from qrmi_core.gateway.metrics import Metrics
from qrmi_core.gateway.outages import Outages
from qrmi_core.gateway.settings import GatewaySettings, load_gateway_settings
from qrmi_core.gateway.site_view import SlurmSide
from qrmi_core.gateway.vendor_view import VendorView
from qrmi_core.gateway.vendor_watch import MembersInService, VendorWatch
from qrmi_core.leases import Holder, JobKey, JournalUnavailable, LeaseRecord, LeaseTask
from qrmi_core.leases.keeper import JOB_OVER, TIME_OVER, LeaseKeeper
from qrmi_core.leases.sqlite_journal import SqliteJournal
from qrmi_core.resource import JobContext, QuantumResource
from qrmi_core.slurm.controller import ControllerUnreachable, SlurmJob
from qrmi_core.tasks import TaskInfo

if TYPE_CHECKING:
    from qrmi_core.gateway.job_comments import JobComments

__all__ = ["Gateway", "GrantRefused"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

RETRY_GAP = 1.0
RECOVERY_GAP = 2.0
TIDY_GAP = 5.0
PROBE_GAP = 2.0
PRUNE_GAP = 3600.0
WATCH_GAP = 15.0
RESERVED_SECONDS = 1.5
START_SECONDS = 5.0
REPORT_SECONDS = 5.0
"""Seconds that a node's report waits for what follows from it; that goes on meanwhile."""

THREADS = {"grant": 64, "release": 32, "vendor": 64, "journal": 8, "loop": 4, "auth": 8}


class GrantRefused(LeaseRefused):
    """A refusal; ``requeue`` says how the job may be put back into the queue, where that makes sense."""

    def __init__(self, error: QRMIError, requeue: Mapping[str, Any] | None) -> None:
        super().__init__(str(error), transient=error.transient, resource=error.resource)
        self.requeue = requeue


class _Source:
    """The resources of the configuration in force: what the keeper of leases was given stays, this changes."""

    def __init__(self, environments: Environments, in_doubt: Callable[[str, str], bool]) -> None:
        self.environments = environments
        self._in_doubt = in_doubt
        self._since = time.time()

    def to_acquire(self, name: str, holder: Holder, seconds: float) -> QuantumResource | None:
        return self.environments.to_acquire(name, holder, seconds)

    def make(self, name: str, holder: Holder, token: str | None, seconds: float) -> QuantumResource | None:
        return self.environments.make(name, holder, token, seconds)

    def may_have_missed(self, record: LeaseRecord, name: str) -> bool:
        """Where jobs reach it directly, or the gateway, killed or unanswered, lost sight of what it sent for them."""
        if self.environments.is_reached(name, "gateway"):
            return record.granted < self._since or self._in_doubt(record.id, name)
        return self.environments.may_have_missed(record, name)

    def with_outcome(self, task: LeaseTask, info: TaskInfo | None) -> LeaseTask | None:
        return self.environments.with_outcome(task, info)

    def refusal(self, name: str, holder: Holder) -> str | None:
        return self.environments.refusal(name, holder)

    def queue(self, name: str) -> int:
        return self.environments.queue(name)


class Gateway:
    """Everything that the routes call. Made in the event loop; :meth:`start` before anything else."""

    def __init__(self, file: Path, settings: GatewaySettings) -> None:
        """Read the configuration of resources and open the journal.

        Raises:
            ConfigurationError: the configuration is wrong, and where.
            JournalUnavailable: the journal cannot be opened, or another gateway runs with it.
        """
        self._file = file
        self.settings = settings
        self._pools = {name: ThreadPoolExecutor(most, thread_name_prefix=name) for name, most in THREADS.items()}
        self.slurm = SlurmSide(settings)
        self._helper = HelperClient(settings.helper_socket) if settings.helper_socket else None
        self.vendors = VendorView(self._pools["vendor"], self._bare)
        self.journal = SqliteJournal(settings.journal)
        self.metrics = Metrics()
        self.comments = self._job_comments(self._helper) if self._helper is not None else None
        self.doors = Doors(self)
        self._source = _Source(self._environments(settings), self.doors.is_in_doubt)
        self.outages = Outages(
            Path(settings.state_dir),
            self._helper,
            self._bare,
            pools=lambda: self.resources.members,
            lanes=lambda: {**self.resources.lanes, **self.resources.pool_lanes},
        )
        self._members = MembersInService(lambda: self.resources.members, self.outages)
        self.keeper = LeaseKeeper(self.journal, self._source, self.resources.lanes, self._members)
        self._watch = VendorWatch(self.outages, self.vendors, lambda: self.resources, self.within)
        self._ready = asyncio.Event()
        self._not_ready = "the gateway is still giving back what was left behind when it ended last"
        self._granting: dict[JobKey, asyncio.Task[LeaseRecord]] = {}
        self._releasing: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def _job_comments(self, helper: HelperClient) -> JobComments:
        from qrmi_core.gateway.job_comments import JobComments  # for sites with a helper

        return JobComments(self.journal, helper, self.within)

    @property
    def resources(self) -> Environments:
        """The resources of the configuration in force."""
        return self._source.environments

    def _environments(self, settings: GatewaySettings) -> Environments:
        def adapt(resource: QuantumResource) -> None:
            if self._helper is not None:
                lend_credentials(resource, self._helper)

        url = settings.jobs_url
        return Environments(
            load_site(Path(settings.qrmi_config)),
            settings.qrmi_config,
            queue_of=self.vendors.queue,
            adapt=adapt,
            doors=JobDoors(url, settings.ca, self._door) if url is not None else None,
        )

    def _door(self, resource_type: str) -> Door | None:
        return self.doors.door(resource_type)

    def _bare(self, name: str) -> QuantumResource | None:
        """The resource as the gateway itself asks it; None for simulators and unknown names."""
        if name not in self.resources.resources or self.resources.access(name) == "local":
            return None
        return self.resources.bare(name, JobContext(uid=0), 20.0)

    async def start(self) -> None:
        """Take up what the last process left, and begin to look after it; what is asked meanwhile waits for it."""
        while True:
            try:
                await self.within("journal", self.keeper.recover)
                await self.doors.load()
                break
            except JournalUnavailable as error:
                _log.error("nothing is granted until the journal can be taken up: %s", error)
                self._not_ready = f"the gateway cannot take up what was left behind when it ended last: {error}"
                await polling.pause_async(RECOVERY_GAP)
        self._ready.set()
        self._spawn(self._tell_problems())
        self._spawn(self._every(self.settings.poll_slurm, self.look))
        self._spawn(self._every(RETRY_GAP, self._retry))
        self._spawn(self._every(TIDY_GAP, self.doors.tidy))
        if self.comments is not None:
            self._spawn(self.comments.run())
            self._spawn(self._every(TIDY_GAP, functools.partial(self._comment, self.comments)))
        self._spawn(self._every(PROBE_GAP, functools.partial(self.within, "loop", self.outages.confirm)))
        self._spawn(self._every(PROBE_GAP, functools.partial(self.within, "loop", self.outages.probe)))
        self._spawn(self._every(WATCH_GAP, self._watch.look))
        self._spawn(self._every(PRUNE_GAP, functools.partial(self.within, "loop", self.keeper.prune)))

    async def _tell_problems(self) -> None:
        """A start is not refused for one QPU whose key is gone: the others have jobs."""
        for name, problem in (await self.within("loop", self.resources.problems)).items():
            _log.error("jobs cannot use %s: %s", name, problem)

    async def _comment(self, comments: JobComments) -> None:
        await self.slurm.remember()
        await comments.look(accounting=bool(self.slurm.has_accounting))

    async def until_ready(self) -> None:
        """Wait until the journal of the last process is taken up.

        Raises:
            LeaseRefused: that takes long.
        """
        if self._ready.is_set():
            return
        try:
            await asyncio.wait_for(self._ready.wait(), START_SECONDS)
        except TimeoutError:
            raise LeaseRefused(self._not_ready, transient=True) from None

    async def stop(self, patience: float = 5.0) -> None:
        """Let grants and releases that go on end, for so many seconds; the journal knows of the others."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks - set(self._granting.values()):
            task.cancel()
        if running := [*self._granting.values(), *self._tasks]:
            await asyncio.wait(running, timeout=patience)
        await self.doors.close(patience)
        # What is only noted in passing, such as what came of a task, is written down too.
        written = self.within("loop", self._pools["journal"].shutdown)
        await asyncio.wait([asyncio.ensure_future(written)], timeout=patience)
        self.slurm.close()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, self.journal.close)

    async def reload(self) -> None:
        """Read both configuration files again; what is wrong is told, and nothing changes then."""
        try:
            _, settings = await self.within("loop", load_gateway_settings, self._file)
            fixed = ("state_dir", "listen", "slurm_conf", "munge_socket", "cluster", "helper_socket")
            changed = [name for name in fixed if getattr(settings, name) != getattr(self.settings, name)]
            if (settings.tls is None) != (self.settings.tls is None):
                changed.append("tls")
            if changed:
                raise ConfigurationError(
                    f"{', '.join(changed)} cannot change while it runs: start the gateway anew", file=str(self._file)
                )
            environments = await self.within("loop", self._environments, settings)
            if problems := await self.within("loop", environments.problems):
                raise ConfigurationError("; ".join(problems.values()))
        except QRMIError as error:
            _log.error("the configuration is not taken, the one before stays in force: %s", error)
            return
        self.settings = settings
        self._source.environments = environments
        self.keeper.configure(environments.lanes, self._members)
        self.slurm.configure(settings)
        self.vendors.forget()
        await self.doors.forget()
        _log.info("the configuration was read again: %s", ", ".join(environments.resources) or "no QPUs")

    def threads(self, kind: str) -> ThreadPoolExecutor:
        """The threads of one kind; see :data:`THREADS`."""
        return self._pools[kind]

    async def within(self, pool: str, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Call something that blocks, in a thread of that kind."""
        return await asyncio.get_running_loop().run_in_executor(self._pools[pool], work, *arguments)

    async def note_task(self, lease_id: str, task: LeaseTask) -> None:
        """Note a task of a lease: here and now, or in a thread where somebody has to be waited for.

        It is on the disk when this returns; no thread waits for that, since those who read need the threads.

        Raises:
            LeaseRefused: the lease takes no tasks any more.
            JournalUnavailable: it is not noted.
        """
        noted = self.keeper.note_task_at_once(lease_id, task)
        if noted is None:
            noted = await self.within("journal", self.keeper.note_task, lease_id, task)
        await asyncio.wrap_future(noted)

    def _spawn(self, work: Coroutine[Any, Any, _Answer]) -> asyncio.Task[_Answer]:
        """Run something in the background, whoever waits for it or does not any more."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, QRMIError):
            _log.error("an error of the gateway itself", exc_info=error)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        while True:
            try:
                await work()
            except QRMIError as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001  what goes wrong once must not end what looks after leases
                _log.exception("an error of the gateway itself")
            await polling.pause_async(seconds)

    async def grant(self, job: SlurmJob, wait: float) -> tuple[LeaseRecord, JobVariables]:
        """The lease of a job that runs, and its variables.

        Raises:
            GrantRefused: there is none, and why.
        """
        try:
            if job.is_over or not job.nodes:
                raise LeaseRefused(f"job {job.id} does not run: slurmctld says {job.state}")
            try:
                wants = self.resources.wanted(job.licenses)
            except LeaseRefused as error:
                _log.warning("job %d gets no QPU: %s", job.id, error)
                raise
            if not wants:
                raise LeaseRefused(f"job {job.id} asked for no QPU: submit it with --qpu=NAME")
            holder = await self.slurm.holder(job)
            task = self._granting.get(holder.key)
            if task is None:
                limit = min(wait, self.settings.grant_wait)
                task = self._granting[holder.key] = self._spawn(self._grant(holder, wants, limit))
                task.add_done_callback(lambda _: self._granting.pop(holder.key, None))
            record = await asyncio.shield(task)
            token = await self.doors.tokens.mint(record.id) if self.resources.needs_token(record) else None
            return record, await self.within("journal", self.resources.of_lease, record, token)
        except QRMIError as error:
            again = error.transient and job.batch and job.requeue
            requeue = {"id": job.array or str(job.id), "delay": math.ceil(self.settings.hold_off)} if again else None
            raise GrantRefused(error, requeue) from error

    async def _grant(self, holder: Holder, wants: Mapping[str, int], wait: float) -> LeaseRecord:
        def work() -> LeaseRecord:
            with polling.until(time.monotonic() + wait):
                return self.keeper.grant(holder, wants, wait=wait)

        for name in wants if holder.uid else ():  # root tries a QPU that is out of service, in its reservation
            if (reason := self.outages.reason(name)) is not None:
                raise LeaseRefused(f"{name} is out of service: {reason}", transient=True, resource=name)
        await self._watch.refresh(wants)
        try:
            record = await self.within("grant", work)
        except LeaseRefused as refusal:
            # Its lane is free as soon as this is answered: the next job must not start and be refused likewise.
            await asyncio.wait([self._spawn(self._watch.refused(refusal))], timeout=RESERVED_SECONDS)
            raise
        for each in record.acquisitions:
            self.outages.granted(each.resource)
        return record

    async def lease(self, lease_id: str) -> LeaseRecord | None:
        """A lease, also one that has ended."""
        return await self.within("journal", self.keeper.get, lease_id)

    async def journal_health(self) -> str:
        """``ok``, or that the journal cannot be read."""
        try:
            await asyncio.wait_for(self.lease(""), REPORT_SECONDS)
        except (QRMIError, TimeoutError):
            return "unavailable"
        return "ok"

    async def node_done(self, lease_id: str, node: str) -> None:
        """A node says that its part of a job is over; what follows goes on after an answer."""
        await self._report(self.within("release", self.keeper.node_done, lease_id, node))

    async def nodes_done_of(self, job_id: int, node: str, before: float) -> None:
        """The same without a lease's id."""
        done = functools.partial(self.keeper.nodes_done_of, job_id, node, before=before)
        await self._report(self.within("release", done))

    async def _report(self, work: Coroutine[Any, Any, None]) -> None:
        done, _ = await asyncio.wait([self._spawn(work)], timeout=REPORT_SECONDS)
        for task in done:
            task.result()

    def job_ends(self, job_id: int) -> None:
        """A job begins to end: after the grace its tasks are cancelled, and it is given back where it is over."""
        if job_id in self._timers or not self.keeper.of_job(job_id):
            return
        loop = asyncio.get_running_loop()
        ended = functools.partial(self._spawn_ended, job_id)
        self._timers[job_id] = loop.call_later(self.settings.kill_grace, ended)

    def _spawn_ended(self, job_id: int) -> None:
        self._timers.pop(job_id, None)
        self._spawn(self._ended(job_id))

    async def _ended(self, job_id: int) -> None:
        job = await self.slurm.job(job_id)
        runs = None if job is None or job.is_over else (await self.slurm.holder(job)).key
        for record in self.keeper.of_job(job_id):
            if job is None or runs is None or runs != (record.holder and record.holder.key):
                await self.release(record.id, JOB_OVER)
            elif job.state == "COMPLETING":
                await self.within("release", self.keeper.cancel_tasks, record.id)

    async def release(self, lease_id: str, why: str) -> LeaseRecord | None:
        """Give a lease back as far as it can be now, and once at a time."""
        if lease_id in self._releasing:
            return await self.lease(lease_id)
        self._releasing.add(lease_id)
        try:
            return await self.within("release", functools.partial(self.keeper.release, lease_id, why=why))
        finally:
            self._releasing.discard(lease_id)

    def _release_each(self, records: list[LeaseRecord], why: str | None) -> None:
        """Each in a thread of its own: the vendor of one may be slow."""
        for record in records:
            if record.id not in self._releasing:
                self._spawn(self._released(record, why or record.reason or ""))

    async def _released(self, record: LeaseRecord, why: str) -> None:
        try:
            await self.release(record.id, why)
        except QRMIError as error:
            _log.warning("lease %s is not given back yet: %s", record.id, error)

    async def _retry(self) -> None:
        self._release_each(await self.within("loop", self.keeper.due), None)

    async def look(self) -> None:
        """Compare the leases with the jobs that slurmctld knows."""
        try:
            await self.slurm.remember()
            if not self.keeper.live():
                return
            taken = time.time()
            alive = await self.slurm.alive()
        except ControllerUnreachable:
            self._release_each(await self.within("loop", self.keeper.overdue), TIME_OVER)
            return
        ended = functools.partial(self.keeper.ended, alive, taken=taken)
        self._release_each(await self.within("loop", ended), JOB_OVER)
