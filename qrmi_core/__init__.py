# SPDX-License-Identifier: Apache-2.0
"""The resource layer: quantum processors as resources of a workload manager.

Names are loaded when they are first used: what a program does not need costs it nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrmi_core.engines import EngineResource, Limits, Work
    from qrmi_core.errors import (
        AmbiguousResource,
        AuthenticationFailed,
        ConfigurationError,
        InputError,
        JobEnvironmentError,
        LeaseError,
        LeaseRefused,
        LimitExceeded,
        NoQPUError,
        QRMIError,
        QRMIWarning,
        ReleaseIncomplete,
        ResourceError,
        ResourceNotFound,
        ResourceUnavailable,
        ResultError,
        SubmissionUncertain,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskNotFound,
        TaskNotReady,
        UnsupportedFunction,
        UnsupportedPayload,
        VendorError,
        VendorUnreachable,
        WaitTimeout,
    )
    from qrmi_core.payloads import AliceBobFelis, IQMServer, Payload, PulserBatch, PulserJob, QiskitPrimitive
    from qrmi_core.resource import (
        BatchResource,
        JobContext,
        QuantumResource,
        ResourceCapacity,
        ResourceStatus,
        ResourceStatusCode,
        Target,
    )
    from qrmi_core.service import ListedResource, QRMIService
    from qrmi_core.tasks import Task, TaskInfo, TaskResult, TaskStatus
    from qrmi_core.variables import Variable

__all__ = [
    "AliceBobFelis",
    "AmbiguousResource",
    "AuthenticationFailed",
    "BatchResource",
    "ConfigurationError",
    "EngineResource",
    "IQMServer",
    "InputError",
    "JobContext",
    "JobEnvironmentError",
    "LeaseError",
    "LeaseRefused",
    "LimitExceeded",
    "Limits",
    "ListedResource",
    "NoQPUError",
    "Payload",
    "PulserBatch",
    "PulserJob",
    "QRMIError",
    "QRMIService",
    "QRMIWarning",
    "QiskitPrimitive",
    "QuantumResource",
    "ReleaseIncomplete",
    "ResourceCapacity",
    "ResourceError",
    "ResourceNotFound",
    "ResourceStatus",
    "ResourceStatusCode",
    "ResourceUnavailable",
    "ResultError",
    "SubmissionUncertain",
    "Target",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskInfo",
    "TaskNotFound",
    "TaskNotReady",
    "TaskResult",
    "TaskStatus",
    "UnsupportedFunction",
    "UnsupportedPayload",
    "Variable",
    "VendorError",
    "VendorUnreachable",
    "WaitTimeout",
    "Work",
]

_HOMES = {
    "qrmi_core.engines": ["EngineResource", "Limits", "Work"],
    "qrmi_core.errors": [
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
    ],
    "qrmi_core.payloads": ["AliceBobFelis", "IQMServer", "Payload", "PulserBatch", "PulserJob", "QiskitPrimitive"],
    "qrmi_core.resource": [
        "BatchResource",
        "JobContext",
        "QuantumResource",
        "ResourceCapacity",
        "ResourceStatus",
        "ResourceStatusCode",
        "Target",
    ],
    "qrmi_core.service": ["ListedResource", "QRMIService"],
    "qrmi_core.tasks": ["Task", "TaskInfo", "TaskResult", "TaskStatus"],
    "qrmi_core.variables": ["Variable"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
