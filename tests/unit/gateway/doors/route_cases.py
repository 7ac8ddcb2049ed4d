# SPDX-License-Identifier: Apache-2.0
"""What is asked of each route of each door in another job's name: a table that must have a line for every route.

A line's key is the method and path of a route without its root; :func:`key_of` makes it. Words in braces stand for what
a job has: ``{job}``, ``{batch}`` and so on are those of whoever's turn it is.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

__all__ = ["TABLES", "Ask", "key_of", "paths"]

ROOTS = re.compile(r"^(/r/\{resource\})?(/experimental/api/v1|/api/v1|/core-fast/api|/account/api/v1|/v1(?=/))?")
PARAMETER = re.compile(r"\{(\w+)(?::((?:[^{}]|\{[^{}]*\})*))?\}")


@dataclass(frozen=True)
class Ask:
    """One request to a route: what its parameters are, its query, its body and more headers.

    ``status`` is the answer where it names what is nobody's; ``public`` routes ask for no token. ``munge`` is for
    Warden's own API, where a munge credential stands for a user. What is ``held`` in a path is as good as a token.
    """

    query: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    status: tuple[int, ...] = (403, 404)
    public: bool = False
    munge: bool = False
    held: bool = False

    @property
    def told(self) -> str:
        """All of it in which something may be named."""
        return f"{self.query} {self.body!r} {self.headers} {self.parameters}"

    def filled(self, known: Mapping[str, str]) -> tuple[bytes | None, dict[str, str]]:
        """Body and headers with what is known in place of what stands for it."""
        headers = {name: value.format(**known) for name, value in self.headers.items()}
        if self.body is None or isinstance(self.body, bytes):
            return self.body, headers
        text = json.dumps(self.body)
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text.encode(), {"Content-Type": "application/json", **headers}


Table = Mapping[str, tuple[Ask, ...]]


def key_of(route: web.RouteDef) -> str:
    """The line of the table for a route."""
    return f"{route.method} {ROOTS.sub('', route.path)}"


def paths(route: web.RouteDef, ask: Ask) -> Iterator[str]:
    """The paths of a route with an ask's parameters: one for each of the words that a parameter may be."""
    choices = []
    for name, pattern in PARAMETER.findall(route.path):
        if name == "resource":
            choices.append(["{resource}"])
        elif name in ask.parameters:
            choices.append([ask.parameters[name]])
        else:
            words = pattern.split("|")
            assert pattern, f"nothing is said of {{{name}}} of {route.path}"
            assert all(set(word) <= set(string.ascii_lowercase + "-") for word in words), (name, pattern)
            choices.append(words)
    for chosen in itertools.product(*choices):
        words = iter(chosen)
        yield PARAMETER.sub(lambda _, words=words: next(words), route.path) + ask.query


def _form(**fields: str) -> Ask:
    body = urlencode(fields).encode()
    return Ask(body=body, headers={"Content-Type": "application/x-www-form-urlencoded"}, status=(400, 401), public=True)


def _job(**fields: str) -> dict[str, Any]:
    return {"program_id": "sampler", "params": {"pubs": [], "version": 2}, **fields}


_JOB, _SESSION = {"id": "{job}"}, {"id": "{session}"}
_OTHER_KIND = (Ask(parameters={"id": "{job}"}), Ask(parameters={"id": "{session}"}))
_IBM: Table = {
    "POST /identity/token": (_form(grant_type="urn:ibm:params:oauth:grant-type:apikey", apikey="somebodys"),),
    "POST /v3/resources/search": (Ask(body={"query": "{instance}"}, status=(200,)),),
    "GET /qrmi-gateway-plan": (Ask(status=(200,)),),
    "GET /backends": (Ask(status=(200,)), Ask(headers={"Service-CRN": "{instance}"})),
    "GET /backends/{name}/{part:configuration|properties|status}": (Ask(parameters={"name": "{qpu}"}),),
    "GET /instances/usage": (Ask(status=(200,)), Ask(headers={"Service-CRN": "{instance}"})),
    "POST /sessions": (
        Ask(body={"mode": "batch", "backend": "{qpu}"}),
        Ask(body={"mode": "batch", "backend": "{own}", "instance": "{instance}"}),
    ),
    "GET /sessions/{id}": _OTHER_KIND,
    "PATCH /sessions/{id}": (Ask(parameters=_SESSION, body={"accepting_jobs": False}),),
    "DELETE /sessions/{id}/close": _OTHER_KIND,
    "POST /jobs": (
        Ask(body=_job(backend="{qpu}")),
        Ask(body=_job(backend="{own}", session_id="{session}")),
        Ask(body=_job(backend="{own}", session_id="{job}")),
        Ask(body=_job(backend="{own}"), headers={"Service-CRN": "{instance}"}),
    ),
    "GET /jobs": (
        *(Ask(query, status=(200,)) for query in ("", "?tags={tag}", "?session_id={session}", "?pending=false")),
        Ask("?backend={qpu}"),
    ),
    "GET /jobs/{id}": (*_OTHER_KIND, Ask("?exclude_params=true", parameters=_JOB)),
    "DELETE /jobs/{id}": _OTHER_KIND,
    "POST /jobs/{id}/cancel": _OTHER_KIND,
    "GET /jobs/{id}/{part:results|logs|metrics}": _OTHER_KIND,
    "PUT /jobs/{id}/tags": (Ask(parameters=_JOB, body={"tags": ["taken over"]}),),
}

_BATCH, _OF_BATCH = {"batch": "{batch}"}, {"job": "{job}"}
_PASQAL: Table = {
    "POST /oauth/token": (_form(grant_type="password", username="me", password="somebodys"),),
    "GET /results/{link}": (
        Ask(parameters={"link": "{link}"}, public=True, held=True),
        Ask(parameters={"link": "nothing"}, public=True),
    ),
    "GET /v1/devices": (Ask(status=(200,), public=True),),
    "GET /v1/devices/public-specs": (Ask(status=(200,), public=True),),
    "GET /projects": (Ask(status=(200,)),),
    "GET /v1/devices/specs": (Ask(status=(200,)),),
    "GET /v1/devices/specs/{device_type}": (Ask(parameters={"device_type": "{qpu}"}),),
    "POST /v1/batches": (Ask(body={"sequence_builder": "{}", "jobs": [{"runs": 1}], "device_type": "{qpu}"}),),
    "GET /v1/batches": tuple(Ask(query, status=(200,)) for query in ("", "?id={batch}", "?tag={tag}")),
    "PATCH /v1/batches/cancel": (Ask(body={"batch_ids": ["{batch}"]}, status=(200,)),),
    "GET /v2/batches/{batch}": (Ask(parameters=_BATCH), Ask(parameters={"batch": "{job}"})),
    "GET /v1/batches/{batch}/status": (Ask(parameters=_BATCH),),
    "GET /v1/batches/{batch}/full_results": (Ask(parameters=_BATCH),),
    "POST /v2/batches/{batch}/jobs": (Ask(parameters=_BATCH, body=[{"runs": 1}]),),
    "PATCH /v2/batches/{batch}/complete": (Ask(parameters=_BATCH),),
    "PATCH /v2/batches/{batch}/cancel": (Ask(parameters=_BATCH),),
    "PATCH /v2/batches/{batch}/cancel/jobs": (Ask(parameters=_BATCH),),
    "PATCH /v1/batches/{batch}/tags": (Ask(parameters=_BATCH, body=["taken over"]),),
    "POST /v1/batches/{batch}/rebatch": (Ask(parameters=_BATCH),),
    "GET /v2/jobs": tuple(Ask(query, status=(200,)) for query in ("", "?id={job}", "?batch_id={batch}")),
    "GET /v2/jobs/{job}": (Ask(parameters=_OF_BATCH), Ask(parameters={"job": "{batch}"})),
    "GET /v1/jobs/{job}/status": (Ask(parameters=_OF_BATCH),),
    "GET /v1/jobs/{job}/results_link": (Ask(parameters=_OF_BATCH),),
    "PATCH /v2/jobs/{job}/cancel": (Ask(parameters=_OF_BATCH),),
    "* /{version}/{what}{rest:.*}": (Ask(parameters={"version": "v1", "what": "workloads", "rest": "/{job}"}),),
    "* /{rest:.*}": (Ask(parameters={"rest": "elsewhere/{job}"}, public=True),),
}

_NUMBER = {"number": "{number}"}
_AS_USER = Ask(munge=True, status=(200,))
_WARDEN: Table = {
    **_PASQAL,
    "GET /accessible": (Ask(status=(200,), public=True),),
    "GET /qpu/specs": (_AS_USER,),
    "POST /jobs": (Ask(body={"sequence": "{}", "shots": 1}, headers={"X-Warden-Session": "{session}"}, munge=True),),
    "GET /jobs": (_AS_USER, Ask(headers={"X-Warden-Session": "{session}"}, munge=True, status=(200,))),
    "GET /jobs/{number:[1-9][0-9]{0,9}}": (Ask(parameters=_NUMBER, munge=True),),
    "POST /jobs/{number:[1-9][0-9]{0,9}}/cancel": (Ask(parameters=_NUMBER, munge=True),),
    "GET /jobs/{number:[1-9][0-9]{0,9}}/logs": (Ask(parameters=_NUMBER, munge=True),),
    "POST /sessions": (Ask(body={"user_id": "0", "slurm_job_id": "1"}, munge=True),),
    "DELETE /sessions/{session}": (Ask(parameters={"session": "{session}"}, munge=True),),
}

_OTHER = {"qc": "{computer}"}
_IQM: Table = {
    "GET /about": (Ask(status=(200,)),),
    "GET /quantum-computers": (Ask(status=(200,)),),
    "GET /quantum-computers/{qc}": (Ask(parameters=_OTHER),),
    "GET /quantum-computers/{qc}/{part:health|limits|queue-availability}": (Ask(parameters=_OTHER),),
    "GET /quantum-computers/{qc}/artifacts/{artifact}": (Ask(parameters={**_OTHER, "artifact": "about"}),),
    "GET /calibration-sets/{qc}/{cal}": (Ask(parameters={**_OTHER, "cal": "default"}),),
    "GET /calibration-sets/{qc}/{cal}/{part}": (Ask(parameters={**_OTHER, "cal": "default", "part": "metrics"}),),
    "GET /jobs/{id}": (Ask(parameters=_JOB), Ask("?wait_until_terminal=true&timeout_seconds=1", parameters=_JOB)),
    "DELETE /jobs/{id}": (Ask(parameters=_JOB),),
    "GET /jobs/{id}/payload": (Ask(parameters=_JOB),),
    "POST /jobs/{id}/cancel": (Ask(parameters=_JOB),),
    "GET /jobs/{id}/artifacts/{artifact}": tuple(
        Ask(parameters={**_JOB, "artifact": name}) for name in ("measurements", "measurement_counts", "other")
    ),
    "POST /jobs/{qc}/{type}": (Ask(parameters={**_OTHER, "type": "circuit"}, body={"circuits": [], "shots": 1}),),
}

_FELIS_ORDER = {"inputDataFormat": "HUMAN_QIR", "outputDataFormat": "HISTOGRAM", "inputParams": {"nbShots": 10}}
_FORM = b'--b\r\nContent-Disposition: form-data; name="input"; filename="input"\r\n\r\nprogram\r\n--b--\r\n'
_FELIS: Table = {
    "GET /health/": (Ask(status=(200,)),),
    "GET /targets/": (Ask(status=(200,)),),
    "GET /targets/{target}/{part:health|availabilities}": (Ask(parameters={"target": "{computer}"}),),
    "POST /jobs/": (Ask(body={**_FELIS_ORDER, "target": "{computer}"}),),
    "GET /jobs/": (Ask(status=(200,)), Ask("?page=1&limit=10", status=(200,))),
    "GET /jobs/{id}": (Ask(parameters=_JOB),),
    "DELETE /jobs/{id}": (Ask(parameters=_JOB),),
    "POST /jobs/{id}/input": (
        Ask(parameters=_JOB, body=_FORM, headers={"Content-Type": "multipart/form-data; boundary=b"}),
    ),
    "GET /jobs/{id}/{part:input|output|memory|transpiled}": (Ask(parameters=_JOB),),
    "GET /jobs/{id}/metrics": (Ask(parameters=_JOB),),
}

TABLES: Mapping[str, Table] = {
    "ibm-quantum-compute-service": _IBM,
    "qiskit-runtime-service": _IBM,
    "ibm-quantum-system": _IBM,
    "pasqal-cloud": _PASQAL,
    "pasqal-local": _WARDEN,
    "iqm-server": _IQM,
    "alice-bob-felis": _FELIS,
}
"""By the type of the resources behind a door."""
