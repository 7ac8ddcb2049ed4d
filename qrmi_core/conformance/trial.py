# SPDX-License-Identifier: Apache-2.0
"""What a check is given: the driver on trial, ways to make it run something, and a record of what it said."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from qrmi_core.conformance.programs import Programs, programs_for
from qrmi_core.errors import QRMIError
from qrmi_core.resource import JobContext, QuantumResource
from qrmi_core.tasks import Task

__all__ = ["Failure", "Inconclusive", "Trial"]

ATTEMPTS = 3


class Failure(Exception):
    """The driver does not do what it must; the text says what was expected and what came."""


class Inconclusive(Exception):
    """The device did not let the check look: for instance, it was faster than the check."""


@dataclass
class Trial:
    """A driver on trial.

    ``said`` collects every text that came from it: errors, representations and log lines.
    """

    kind: type[QuantumResource]
    name: str
    values: Mapping[str, str]
    context: JobContext
    shots: int
    patience: float
    said: list[str] = field(default_factory=list)
    token: str | None = None
    _programs: Programs | None = None
    _finished: Task | None = None

    def resource(self, **variables: str) -> QuantumResource:
        """A new object of the driver, as another process would make it."""
        context = replace(self.context, acquisition_token=self.token or self.context.acquisition_token)
        return self.kind.from_environment(self.name, {**self.values, **variables}, context)

    def subject(self) -> QuantumResource:
        """The driver's object for a check."""
        return self.resource()

    @property
    def programs(self) -> Programs:
        """The programs for this driver's device."""
        if self._programs is None:
            resource = self.resource()
            self._programs = programs_for(resource, resource.target().data, self.shots)
        return self._programs

    def run(self, resource: QuantumResource, outcome: str = "1") -> Task:
        """A task of which a good device measures mostly ``outcome``."""
        return resource.submit(self.programs.good(outcome))

    def finished(self) -> Task:
        """A task that has been completed, the same one for all who ask; nobody reads its result."""
        if self._finished is None:
            self._finished = self.completed()
        return self._finished

    def completed(self) -> Task:
        """A task of its own that has been completed and whose result nobody has read."""
        task = self.run(self.resource())
        task.wait(self.patience).raise_unless_completed(self.name)
        return task

    @contextlib.contextmanager
    def unfinished(self, resource: QuantumResource) -> Iterator[Task]:
        """A task that had not ended when it was looked at just now; it is cancelled afterwards.

        Raises:
            Inconclusive: the device ends tasks faster than they can be looked at.
        """
        for _ in range(ATTEMPTS):
            task = self.run(resource)
            if not resource.task_info(task.id).status.is_final:
                try:
                    yield task
                finally:
                    with contextlib.suppress(QRMIError, NotImplementedError):
                        resource.task_stop(task.id)
                return
        raise Inconclusive("the device ends tasks faster than they can be looked at: use a device with a longer queue")

    def mostly(self, result: bytes, outcome: str) -> bool:
        """Whether a result is that of a program with this outcome."""
        counted = self.programs.counts(result)
        return bool(counted) and counted.most_common(1)[0][0] == outcome

    def heard(self, error: BaseException) -> None:
        """Keep an error's text for the look at secrets."""
        seen: BaseException | None = error
        while seen is not None:
            self.said.append(f"{type(seen).__name__}: {seen}")
            seen = seen.__cause__ or seen.__context__

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Keep every log line that is written meanwhile."""
        said = self.said

        class Keeper(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.append(record.getMessage())

        keeper = Keeper(logging.DEBUG)
        root = logging.getLogger()
        level = root.level
        root.addHandler(keeper)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(keeper)
            root.setLevel(level)
