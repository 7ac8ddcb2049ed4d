# SPDX-License-Identifier: Apache-2.0
"""The environment contract of a job, read and written here and nowhere else.

The names are upstream's: ``QRMI_JOB_QPU_RESOURCES`` and ``QRMI_JOB_QPU_TYPES`` are lists of equal length,
split at ``QRMI_LIST_DELIMITER`` (a comma); each resource has its own variables, ``<name>_QRMI_...``. Older
Slurm plug-ins write ``SLURM_JOB_QPU_*`` instead of the two lists; they count when the new ones are unset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qrmi_core.errors import JobEnvironmentError, NoQPUError
from qrmi_core.names import clash, is_valid_name, name_rule
from qrmi_core.resource import JobContext
from qrmi_core.vendor_environment import DIGESTS, MARK

__all__ = [
    "TRUSTED",
    "JobEnvironment",
    "JobResource",
    "child_environment",
    "client_file",
    "config_file",
    "expand",
    "failpoint",
    "gateway_file",
    "own_values",
    "proxy_variables",
    "read_job",
    "scheduler_job",
    "slurm_environment",
    "spool_directory",
    "trusted_certificates",
    "vendor_values",
    "write_job",
]

RESOURCES = "QRMI_JOB_QPU_RESOURCES"
TYPES = "QRMI_JOB_QPU_TYPES"
DELIMITER = "QRMI_LIST_DELIMITER"
PLUGIN_ERROR = "QRMI_PLUGIN_ERROR"
UID = "QRMI_JOB_UID"
JOB_ID = "QRMI_JOB_ID"
LEASE = "QRMI_LEASE_ID"
TOKEN = "QRMI_JOB_ACQUISITION_TOKEN"  # noqa: S105  the name of a variable
TIMEOUT = "QRMI_JOB_TIMEOUT_SECONDS"
DEVICE = "QRMI_DEVICE"
CONFIG = "QRMI_CONFIG"
FAILPOINT = "QRMI_FAILPOINT"
GATEWAY_CONFIG = "QRMI_GATEWAY_CONFIG"
CLIENT_CONFIG = "QRMI_CLIENT_CONFIG"
SITE = Path("/etc/qrmi")
SITE_CONFIG = SITE / "qrmi_config.json"
SITE_GATEWAY_CONFIG = SITE / "gateway.json"
SITE_CLIENT_CONFIG = SITE / "client.json"
TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Where requests, curl and Python's ssl look for the certificates to trust, in the order of requests."""

FOR_SLURM = ("PATH", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_JWT", "HOME")


@dataclass(frozen=True)
class Scheduler:
    """What a workload manager calls things; another one is another line in :data:`SCHEDULERS`."""

    legacy_resources: str
    legacy_types: str
    job_id: str
    uid: str


SCHEDULERS = {
    "slurm": Scheduler("SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES", "SLURM_JOB_ID", "SLURM_JOB_UID"),
}


@dataclass(frozen=True)
class JobResource:
    """One resource of a job; ``values`` are its variables without its name in front."""

    name: str
    type: str
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    acquisition_token: str | None = field(default=None, repr=False)
    timeout_seconds: int | None = None


@dataclass(frozen=True)
class JobEnvironment:
    """The resources of one job, as its environment tells."""

    resources: tuple[JobResource, ...]
    uid: int | None = None
    job_id: str | None = None
    lease: str | None = None

    def context(self, resource: JobResource) -> JobContext:
        """What the driver of ``resource`` may know of the job."""
        return JobContext(resource.acquisition_token, resource.timeout_seconds, self.uid, self.job_id, self.lease)


def read_job(environ: Mapping[str, str] | None = None) -> JobEnvironment | None:
    """The job that this process runs in, None outside of one.

    Raises:
        NoQPUError: the workload manager says why this job has no QPU.
        JobEnvironmentError: the lists are empty, of unequal length, or hold names that cannot be.
    """
    environ = os.environ if environ is None else environ
    if reason := environ.get(PLUGIN_ERROR):
        raise NoQPUError(f"this job has no QPU: {reason}", reason=reason)
    names_variable, names, types_variable, types = _lists(environ)
    if names is None and types is None:
        return None
    if not names:
        raise JobEnvironmentError(
            f"{names_variable} is {'unset' if names is None else 'empty'}: this job was given no QPU; "
            f"ask for one, with --qpu=NAME for sbatch or `qrmi run --qpu=NAME -- ...`"
        )
    delimiter = environ.get(DELIMITER, ",")
    if not delimiter:
        raise JobEnvironmentError(f"{DELIMITER} is empty: unset it to split lists at commas, or set one character")
    name_list = _split(names, delimiter)
    type_list = _split(types or "", delimiter)
    if len(name_list) != len(type_list):
        raise JobEnvironmentError(
            f"{names_variable} has {len(name_list)} names ({names}) and {types_variable} has {len(type_list)} types "
            f"({types or ''}): each QPU needs its type"
        )
    for name in name_list:
        if not is_valid_name(name):
            raise JobEnvironmentError(f"{names_variable}: {name!r} cannot be the name of a QPU: {name_rule}")
    if twins := clash(name_list):
        raise JobEnvironmentError(f"{names_variable}: {twins[0]} and {twins[1]} are the same name, case ignored")
    slurm = SCHEDULERS["slurm"]
    return JobEnvironment(
        tuple(_resource(environ, name, kind) for name, kind in zip(name_list, type_list, strict=True)),
        uid=_number(environ, UID, fallback=slurm.uid),
        job_id=environ.get(JOB_ID) or environ.get(slurm.job_id),
        lease=environ.get(LEASE) or None,
    )


def scheduler_job() -> str | None:
    """Which job of a workload manager this process is in, as text for a person; None outside of one."""
    for name, scheduler in SCHEDULERS.items():
        if number := os.environ.get(scheduler.job_id):
            return f"{name.capitalize()} job {number}"
    return None


def own_values(names: Iterable[str]) -> dict[str, str]:
    """The variables among ``names`` that are set for this process, without any resource's name in front."""
    return {name: os.environ[name] for name in names if name in os.environ}


def proxy_variables() -> dict[str, str]:
    """The proxies that are named, and ``no_proxy``, by their small names, which count where both are there."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    return {name: os.environ.get(name, os.environ.get(name.upper(), "")) for name in names}


def trusted_certificates() -> str | None:
    """The file, or directory, of certificates that the environment names for the clients of HTTPS."""
    return next((named for name in TRUSTED if (named := os.environ.get(name))), None)


def vendor_values() -> dict[str, str]:
    """The variables through which vendors' clients find the QPUs of the job that this process is in."""
    return own_values([MARK, DIGESTS, *_split(os.environ.get(MARK, ""), ",")])


def _lists(environ: Mapping[str, str]) -> tuple[str, str | None, str, str | None]:
    if RESOURCES not in environ and TYPES not in environ:
        for scheduler in SCHEDULERS.values():
            if scheduler.legacy_resources in environ or scheduler.legacy_types in environ:
                names, types = scheduler.legacy_resources, scheduler.legacy_types
                return names, environ.get(names), types, environ.get(types)
    return RESOURCES, environ.get(RESOURCES), TYPES, environ.get(TYPES)


def _split(text: str, delimiter: str) -> list[str]:
    return [part.strip() for part in text.split(delimiter)] if text.strip() else []


def _resource(environ: Mapping[str, str], name: str, kind: str) -> JobResource:
    prefix = f"{name}_"
    values = {key.removeprefix(prefix): value for key, value in environ.items() if key.startswith(f"{prefix}QRMI_")}
    token = values.pop(TOKEN, None) or environ.get(TOKEN)
    own_timeout = values.pop(TIMEOUT, None)
    timeout = (
        _number(environ, TIMEOUT) if own_timeout is None else _number({prefix + TIMEOUT: own_timeout}, prefix + TIMEOUT)
    )
    return JobResource(name, kind, values, token, timeout)


def _number(environ: Mapping[str, str], variable: str, *, fallback: str | None = None) -> int | None:
    for name in (variable, fallback):
        text = environ.get(name) if name else None
        if text:
            try:
                return int(text)
            except ValueError:
                raise JobEnvironmentError(f"{name} is {text!r}: a whole number was expected") from None
    return None


def write_job(job: JobEnvironment) -> dict[str, str]:
    """The variables that tell a job's processes what :func:`read_job` reads."""
    variables = {
        RESOURCES: ",".join(resource.name for resource in job.resources),
        TYPES: ",".join(resource.type for resource in job.resources),
    }
    if job.uid is not None:
        variables[UID] = str(job.uid)
    if job.job_id is not None:
        variables[JOB_ID] = job.job_id
    if job.lease is not None:
        variables[LEASE] = job.lease
    for resource in job.resources:
        prefix = f"{resource.name}_"
        variables.update({prefix + key: value for key, value in resource.values.items()})
        if resource.acquisition_token is not None:
            variables[prefix + TOKEN] = resource.acquisition_token
        if resource.timeout_seconds is not None:
            variables[prefix + TIMEOUT] = str(resource.timeout_seconds)
    return variables


def child_environment(
    overrides: Mapping[str, str] | None = None, *, leave_out_jobs_of: Iterable[str] = ()
) -> dict[str, str]:
    """A copy of this process's environment for a child.

    With ``overrides`` from :func:`write_job`, the variables of the job that this process is in itself (and of
    the resources named in ``leave_out_jobs_of``) are left out first, so that nothing stale is inherited; so are
    those through which vendors' clients find that job's QPUs.
    """
    environ = dict(os.environ)
    if overrides is None:
        return environ
    slurm = SCHEDULERS["slurm"]
    _, names, _, _ = _lists(environ)
    inherited = _split(names or "", environ.get(DELIMITER) or ",")
    prefixes = tuple(f"{name}_QRMI_" for name in (*inherited, *leave_out_jobs_of))
    own = {RESOURCES, TYPES, DELIMITER, PLUGIN_ERROR, TOKEN, TIMEOUT, LEASE, slurm.legacy_resources, slurm.legacy_types}
    own |= {MARK, DIGESTS, *_split(environ.get(MARK, ""), ",")}
    kept = {
        key: value for key, value in environ.items() if key not in own and not (prefixes and key.startswith(prefixes))
    }
    return kept | dict(overrides)


def config_file(option: Path | None = None) -> Path | None:
    """The configuration file: the option, else ``QRMI_CONFIG``, else the site's, else none."""
    return _file(option, CONFIG, SITE_CONFIG)


def gateway_file(option: Path | None = None) -> Path | None:
    """The gateway's own file: the option, else ``QRMI_GATEWAY_CONFIG``, else the site's, else none."""
    return _file(option, GATEWAY_CONFIG, SITE_GATEWAY_CONFIG)


def client_file(option: Path | None = None) -> Path | None:
    """What clients of a gateway know: the option, else ``QRMI_CLIENT_CONFIG``, else the site's, else none."""
    return _file(option, CLIENT_CONFIG, SITE_CLIENT_CONFIG)


def _file(option: Path | None, variable: str, of_site: Path) -> Path | None:
    if option is not None:
        return option
    if named := os.environ.get(variable):
        return Path(named)
    return of_site if of_site.exists() else None


def slurm_environment(slurm_conf: Path | None = None) -> dict[str, str]:
    """The environment of a command of Slurm whose output is read by a program: times in seconds since the epoch."""
    kept = {name: os.environ[name] for name in FOR_SLURM if name in os.environ}
    if slurm_conf is not None:
        kept["SLURM_CONF"] = str(slurm_conf)
    return {"PATH": os.defpath, **kept, "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}


def expand(variable: str) -> str | None:
    """The value of a variable that a configuration file names for a secret."""
    return os.environ.get(variable)


def failpoint() -> str | None:
    """The step at which a test wants this process to crash, None outside of tests."""
    return os.environ.get(FAILPOINT)


def spool_directory() -> Path:
    """Where tasks and results of engines lie: ``$XDG_STATE_HOME/qrmi``, by default ``~/.local/state/qrmi``."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "qrmi"
