# SPDX-License-Identifier: Apache-2.0
"""What the drivers that speak REST to a vendor share."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from qrmi_core.errors import ResultError, TaskNotFound, VendorError
from qrmi_core.http_settings import HTTP_VARIABLES, http_settings, number
from qrmi_core.resource import JobContext, QuantumResource
from qrmi_core.tasks import TaskStatus
from qrmi_core.variables import Variable

__all__ = [
    "VENDOR_VARIABLES",
    "VendorResource",
    "about_task",
    "expect",
    "expect_object",
    "expect_objects",
    "lease_tag",
    "new_id",
    "seconds_since_epoch",
    "without_lease_tags",
]

DEVICE = "QRMI_DEVICE"
MIN_POLL = "QRMI_MIN_POLL"
LEASE_TAG = "qrmi-lease-"

VENDOR_VARIABLES = (
    Variable(DEVICE, "the vendor's name of the device, where it is not the resource's name", endpoint=True),
    Variable(MIN_POLL, "the least time in seconds between two looks at a task"),
    *HTTP_VARIABLES,
)


class VendorResource(QuantumResource):
    """A resource behind a vendor's REST API; ``device`` is the vendor's name for it.

    A driver lists its own :attr:`variables` followed by :data:`VENDOR_VARIABLES`, maps the vendor's words for a task's
    status in :attr:`words`, and makes its HTTP clients in its constructor, which sends nothing.
    """

    words: ClassVar[Mapping[str, TaskStatus]]
    """The vendor's words for a task's status; one that is not listed counts as running and stays visible."""

    def __init__(self, name: str, values: Mapping[str, str], context: JobContext) -> None:
        super().__init__(name, context)
        self.values = values
        self.device = values.get(DEVICE) or name
        self.http = http_settings(name, values)
        self.min_poll = number(name, values, MIN_POLL, self.min_poll, at_least=0.0)

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Self:
        """Make the resource ``name``; nothing is sent yet.

        Raises:
            ResourceUnavailable: a value cannot be used; says which one and what was expected.
        """
        # A key that was read from a file or pasted often ends with a line break.
        return cls(name, {variable: value.strip() for variable, value in values.items()}, context)

    def metadata(self) -> dict[str, str]:
        """The vendor's name of the device."""
        return {"backend_name": self.device}

    def status_of(self, word: str) -> TaskStatus:
        """The status that a vendor's word means; an unknown word never ends a task."""
        return self.words.get(word, TaskStatus.RUNNING)


@contextlib.contextmanager
def about_task(resource: str, task_id: str) -> Iterator[None]:
    """Say in errors which task they are about, and that it is not there where the vendor answers 404."""
    try:
        yield
    except VendorError as error:
        error.task_id = task_id
        if error.http_status == 404:
            raise TaskNotFound(
                f"{resource} knows no task {task_id}: check the id, and that it was submitted with this account",
                resource=resource,
                task_id=task_id,
                http_status=404,
                code=error.code,
                reason=error.reason,
            ) from error
        raise


def expect(document: Any, key: str, *, resource: str, what: str) -> Any:
    """The value of a key that a vendor's answer must have.

    Raises:
        ResultError: it is not there; says which answer lacks what.
    """
    try:
        return document[key]
    except (KeyError, TypeError, IndexError):
        raise ResultError(f"{resource}: {what} has no {key!r}, which this vendor promises", resource=resource) from None


def expect_object(document: Any, *, resource: str, what: str) -> dict[str, Any]:
    """A vendor's answer, or a part of it, that must be a JSON object.

    Raises:
        ResultError: it is something else, as from a proxy or a login page in between; says which answer.
    """
    if isinstance(document, dict):
        return document
    raise ResultError(
        f"{resource}: {what} is {json.dumps(document)[:80]}, and this vendor promises an object", resource=resource
    )


def expect_objects(document: Any, *, resource: str, what: str) -> list[dict[str, Any]]:
    """A vendor's answer, or a part of it, that must be a list of JSON objects.

    Raises:
        ResultError: it is something else; says which answer.
    """
    if isinstance(document, list):
        return [expect_object(each, resource=resource, what=f"a part of {what}") for each in document]
    raise ResultError(
        f"{resource}: {what} is {json.dumps(document)[:80]}, and this vendor promises a list", resource=resource
    )


def new_id() -> str:
    """An id of our own for a task, or a tag to find it by."""
    return str(uuid.uuid4())


def lease_tag(lease: str) -> str:
    """The tag of all tasks of a lease, by which whoever gives it back finds those that nobody noted."""
    return f"{LEASE_TAG}{lease}"


def without_lease_tags(tags: Iterable[str]) -> list[str]:
    """The tags that are a user's own."""
    return [tag for tag in tags if not tag.startswith(LEASE_TAG)]


def seconds_since_epoch(text: str | None) -> float | None:
    """A vendor's ISO 8601 time; one without a zone is UTC; None where there is none or it cannot be read."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
