# SPDX-License-Identifier: Apache-2.0
"""What vendors say of their resources, for everybody at a site: asked once for all who want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from qrmi_core import polling
from qrmi_core.errors import QRMIError, ResourceUnavailable
from qrmi_core.resource import QuantumResource, ResourceStatus

__all__ = ["VendorView"]

TARGET_SECONDS = 300.0
STATUS_SECONDS = 5.0
TROUBLE_SECONDS = 10.0
ASKED_SECONDS = 8.0


@dataclass
class _Known:
    """An answer, or why there is none; ``until`` is in monotonic seconds."""

    until: float
    answer: Any = None
    problem: QRMIError | None = None


class VendorView:
    """Targets and states of resources, kept for a while. Used in one event loop; vendors are asked in threads."""

    def __init__(self, executor: Executor, resource_of: Callable[[str], QuantumResource | None]) -> None:
        """Ask the resource that ``resource_of`` makes; None where there is nobody to ask."""
        self._executor = executor
        self._resource_of = resource_of
        self._known: dict[Hashable, _Known] = {}
        self._asking: dict[Hashable, asyncio.Task[_Known]] = {}

    def forget(self) -> None:
        """Ask anew: the configuration has changed."""
        self._known.clear()

    async def target(self, name: str) -> bytes:
        """The vendor's target, as it came.

        Raises:
            QRMIError: the vendor does not tell.
        """
        return bytes(await self._answer("target", name, TARGET_SECONDS, lambda resource: resource.target().data))

    async def status(self, name: str) -> ResourceStatus:
        """The resource's state.

        Raises:
            QRMIError: the vendor does not tell.
        """
        status: ResourceStatus = await self._answer("status", name, STATUS_SECONDS, lambda resource: resource.status())
        return status

    async def soon(self, name: str, seconds: float) -> ResourceStatus | QRMIError | None:
        """The state or the vendor's trouble, as far as it is known within so many seconds."""
        try:
            return await asyncio.wait_for(self.status(name), seconds)
        except TimeoutError:
            return None
        except QRMIError as error:
            return error

    def queue(self, name: str) -> int:
        """How many tasks wait at a resource, as far as it is known; safe from any thread."""
        known = self._known.get(("status", name))
        return (known.answer.pending_job_count or 0) if known is not None and known.answer is not None else 0

    async def _answer(self, what: str, name: str, seconds: float, ask: Callable[[QuantumResource], Any]) -> Any:
        key = (what, name)
        known = self._known.get(key)
        if known is None or time.monotonic() >= known.until:
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.ensure_future(self._ask(what, name, seconds, ask))
                task.add_done_callback(lambda _: self._asking.pop(key, None))
            known = await asyncio.shield(task)  # others wait for the same answer when one of them goes
        if known.problem is not None:
            raise known.problem
        return known.answer

    async def _ask(self, what: str, name: str, seconds: float, ask: Callable[[QuantumResource], Any]) -> _Known:
        def work() -> Any:
            resource = self._resource_of(name)
            if resource is None:
                raise ResourceUnavailable(
                    f"{name} is a simulator that runs where your program does, so the gateway cannot ask it: jobs that "
                    f"have it can (`srun --qpu={name} qrmi {what} {name}`), and outside of jobs `qrmi {what} {name}` "
                    f"where simulators are installed",
                    resource=name,
                )
            with polling.until(time.monotonic() + ASKED_SECONDS):
                return ask(resource)

        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._executor, work)
            known = _Known(time.monotonic() + seconds, answer)
        except QRMIError as error:
            known = _Known(time.monotonic() + TROUBLE_SECONDS, problem=error)
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything; it is one resource's trouble
            text = f"{name} does not answer: its driver raised {type(error).__name__}"
            known = _Known(time.monotonic() + TROUBLE_SECONDS, problem=ResourceUnavailable(text, resource=name))
        self._known[what, name] = known
        return known
