# SPDX-License-Identifier: Apache-2.0
"""Every error that the resource layer raises.

QRMIError
 ├─ ConfigurationError        a configuration file is wrong; says file and place
 ├─ JobEnvironmentError       the variables of this job are wrong
 │   └─ NoQPUError            the job was given no QPU; the text is the reason
 ├─ ResourceError             something is wrong with one resource
 │   ├─ ResourceNotFound      no resource has that name
 │   ├─ AmbiguousResource     several resources fit and none was named
 │   ├─ ResourceUnavailable   the resource exists and cannot be used now
 │   │   └─ VendorUnreachable no answer came from the vendor
 │   └─ VendorError           the vendor refused a request or failed at it
 │       └─ AuthenticationFailed  the vendor refused the credentials
 ├─ InputError                what the caller handed in cannot be run
 │   ├─ UnsupportedPayload    the resource does not take that kind of payload
 │   ├─ UnsupportedFunction   the resource has no such function
 │   └─ LimitExceeded         larger than the resource allows
 ├─ TaskError                 something is wrong with one task
 │   ├─ TaskNotFound          no task has that id
 │   ├─ SubmissionUncertain   nobody knows whether the task was taken; it was not sent again
 │   ├─ TaskNotReady          the result is asked for before the task has ended
 │   ├─ TaskFailed            the task ended without a result; carries the reason
 │   ├─ TaskCancelled         the task was cancelled
 │   └─ WaitTimeout           the task goes on, the caller's time is over
 ├─ ResultError               a result arrived and cannot be read
 └─ LeaseError                a grant or release went wrong
     ├─ LeaseRefused          nothing was granted
     └─ ReleaseIncomplete     some resources could not be given back yet
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AmbiguousResource",
    "AuthenticationFailed",
    "ConfigurationError",
    "InputError",
    "JobEnvironmentError",
    "LeaseError",
    "LeaseRefused",
    "LimitExceeded",
    "NoQPUError",
    "QRMIError",
    "QRMIWarning",
    "ReleaseIncomplete",
    "ResourceError",
    "ResourceNotFound",
    "ResourceUnavailable",
    "ResultError",
    "SubmissionUncertain",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskNotFound",
    "TaskNotReady",
    "UnsupportedFunction",
    "UnsupportedPayload",
    "VendorError",
    "VendorUnreachable",
    "WaitTimeout",
]


class QRMIError(Exception):
    """Base of all errors here.

    The text says what is wrong and what to do next. ``transient`` tells whether the same call may
    succeed later; the other fields hold what the vendor said, where it said anything.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        resource: str | None = None,
        task_id: str | None = None,
        http_status: int | None = None,
        code: str | None = None,
        reason: str | None = None,
        solution: str | None = None,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.resource = resource
        self.task_id = task_id
        self.http_status = http_status
        self.code = code
        self.reason = reason
        self.solution = solution


class QRMIWarning(UserWarning):
    """Something was asked for that has no effect, or will stop working."""


class ConfigurationError(QRMIError):
    """A configuration file cannot be used.

    ``file`` is its path, ``place`` the path of the value in it (``resources[2].type``) or the line and column.
    """

    def __init__(self, message: str, *, file: str | None = None, place: str | None = None, **context: Any) -> None:
        where = ": ".join(part for part in (file, place) if part)
        super().__init__(f"{where}: {message}" if where else message, **context)
        self.file = file
        self.place = place


class JobEnvironmentError(QRMIError):
    """The environment variables of this job contradict each other or cannot be read."""


class NoQPUError(JobEnvironmentError):
    """The workload manager could not give this job its QPU; the text is its reason."""


class ResourceError(QRMIError):
    """Something is wrong with one resource."""


class ResourceNotFound(ResourceError):
    """No resource has that name; the text names those that exist."""


class AmbiguousResource(ResourceError):
    """Several resources fit; the text names them."""


class ResourceUnavailable(ResourceError):
    """The resource is known and cannot be used: misconfigured, offline, or its driver is missing."""


class VendorUnreachable(ResourceUnavailable):
    """No answer came: address, network, certificate or server are at fault, or it is silent beyond the time-out."""


class VendorError(ResourceError):
    """The vendor refused a request or failed at it; ``http_status`` and what the vendor said are in the fields.

    ``retry_after`` is the number of seconds after which it wants to be asked again, where it said so.
    """

    retry_after: float | None = None


class AuthenticationFailed(VendorError):
    """The vendor refused the credentials; the text names the variables that hold them."""


class InputError(QRMIError, ValueError):
    """What the caller handed in cannot be run; nothing was submitted."""


class UnsupportedPayload(InputError):
    """The resource does not take that kind of payload, program or device type."""


class UnsupportedFunction(QRMIError, NotImplementedError):
    """The resource, or the vendor behind it, has no such function."""


class LimitExceeded(InputError):
    """The input is larger than the resource allows: qubits, shots, bytes or memory."""


class TaskError(QRMIError):
    """Something is wrong with one task."""


class TaskNotFound(TaskError):
    """No task of this resource has that id."""


class SubmissionUncertain(TaskError):
    """A task was sent, no answer tells whether it was taken, and the vendor has no way to look it up.

    It was not sent again, so it runs once or not at all; the text says where to look before sending it again.
    """


class TaskNotReady(TaskError):
    """The task has not ended yet: wait for it first."""


class TaskFailed(TaskError):
    """The task ended without a result; ``reason`` is the vendor's or the engine's."""


class TaskCancelled(TaskError):
    """The task was cancelled before it ended."""


class WaitTimeout(TaskError, TimeoutError):
    """The caller's time-out is over; the task goes on."""


class ResultError(QRMIError):
    """A result arrived that is truncated or not of the promised form."""


class LeaseError(QRMIError):
    """A lease could not be granted or given back."""


class LeaseRefused(LeaseError):
    """Nothing was granted: all or nothing. ``transient`` tells whether asking again may help."""


class ReleaseIncomplete(LeaseError):
    """Some resources of a lease could not be given back; the journal keeps them as pending."""
