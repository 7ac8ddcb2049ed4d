# SPDX-License-Identifier: Apache-2.0
"""The site that :mod:`gateway_scale` measures: a gateway with three QPUs, and all their vendors in one server.

The server stands for the storage of IBM's machines too. It runs as ``gateway_scale_site.py --vendor``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_bench import DEVICE, ibm_block, request, serve_vendor, serving

__all__ = ["CREATED", "LARGE", "LEASES", "PARIS", "PREMISES", "Site", "site"]

PARIS, PREMISES = "paris", "ibm_premises"
LEASES = 1000
LARGE = 20_000_000
CREATED = "2026-01-01T00:00:00Z"


async def vendor() -> None:  # noqa: C901  a server of few words, but of four vendors'
    """IBM's cloud, Pasqal's, a machine on premises and its storage: all that they are asked here, at once."""
    from aiohttp import web

    jobs: list[str] = []
    result = (b"[" + b"0.123456," * (LARGE // 9 + 1))[: LARGE - 2] + b"0]"

    def job(name: str) -> dict[str, Any]:
        state = {"status": "Queued", "state": {"status": "Queued"}, "program": {"id": "sampler"}, "tags": []}
        return {"id": name, "backend": DEVICE, "created": CREATED, "usage": {"seconds": 0}, **state, "text": "x" * 700}

    async def ibm(request: web.Request, path: str) -> web.StreamResponse:
        if request.method == "POST":
            async for _ in request.content.iter_any():
                pass
            jobs.append(f"d{len(jobs)}")
            return web.json_response({"id": jobs[-1], "backend": DEVICE})
        if path.endswith("/results"):
            return web.Response(body=result, content_type="application/json")
        if path.endswith("/jobs"):
            offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 10))
            return web.json_response({"jobs": [job(name) for name in jobs[::-1][offset : offset + limit]]})
        return web.json_response(job(path.rpartition("/")[2]) if "/jobs/" in path else {"state": True})

    async def pasqal(request: web.Request, path: str) -> web.StreamResponse:
        """A batch is answered with its sequence."""
        told = await request.json(loads=lambda text: json.loads(text)) if request.method == "POST" else {}
        status = {"status": "PENDING", "open": False, "created_at": CREATED, "device_type": "FRESNEL"}
        batch = {**told, "id": str(uuid.uuid4()), **status, "jobs": [{"id": str(uuid.uuid4()), "status": "PENDING"}]}
        return web.json_response({"status": "success", "code": 200, "data": batch})

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.endswith("/token"):
            return web.json_response({"access_token": "t", "expires_in": 3600})
        if path.startswith("/pasqal"):
            return await pasqal(request, path)
        if path.startswith("/api/v1"):
            return await ibm(request, path)
        async for _ in request.content.iter_any():
            pass
        if path.endswith("/jobs") and request.method == "GET":
            return web.json_response({"jobs": []})
        return web.json_response({"id": path.rpartition("/")[2], "name": PREMISES, "status": "online"})

    await serve_vendor(answer)


def resources(port: int) -> list[dict[str, Any]]:
    """The QPUs of the site, as they are configured."""
    url = f"http://127.0.0.1:{port}"
    system = {
        "QRMI_IBM_QS_ENDPOINT": f"{url}/system", "QRMI_IBM_QS_IAM_ENDPOINT": url, "QRMI_IBM_QS_IAM_APIKEY": "key",
        "QRMI_IBM_QS_SERVICE_CRN": "crn:v1:b", "QRMI_IBM_QS_AWS_ACCESS_KEY_ID": "access",
        "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY": "secret", "QRMI_IBM_QS_S3_ENDPOINT": url,
        "QRMI_IBM_QS_S3_BUCKET": "bucket", "QRMI_IBM_QS_S3_REGION": "us-east",
    }  # fmt: skip
    pasqal = {
        "QRMI_PASQAL_CLOUD_BASE_URL": f"{url}/pasqal", "QRMI_PASQAL_CLOUD_AUTH_ENDPOINT": f"{url}/oauth/token",
        "QRMI_PASQAL_CLOUD_CLIENT_ID": "id", "QRMI_PASQAL_CLOUD_CLIENT_SECRET": "secret",
        "QRMI_PASQAL_CLOUD_PROJECT_ID": "project", "QRMI_DEVICE": "FRESNEL",
    }  # fmt: skip
    return [
        {"name": name, "type": kind, "environment": block, "lanes": 2 * LEASES}
        for name, kind, block in (
            (DEVICE, "ibm-quantum-compute-service", ibm_block(port)),
            (PREMISES, "ibm-quantum-system", system),
            (PARIS, "pasqal-cloud", pasqal),
        )
    ]


@dataclass
class Site:
    """A gateway that serves in a process of its own, and a job with a lease of all QPUs."""

    case: Any
    job: Any
    pid: int
    start: float

    @property
    def port(self) -> int:
        return int(self.case.jobs_port)

    def request(self, method: str, path: str, body: bytes = b"", *, qpu: str = DEVICE) -> bytes:
        """The bytes of a request of the job's, at one of its QPUs."""
        crn = self.job.environment[f"{DEVICE}_QRMI_IBM_QCS_SERVICE_CRN"]
        return request(method, f"/r/{qpu}{path}", self.job.token, crn, body)

    def admin(self, path: str) -> tuple[int, Any]:
        """An answer to this user, who is root or an operator."""
        status, told = self.case.ask("GET", path)
        return int(status), told


@contextlib.contextmanager
def site(vendor_port: int, *, tls: bool = False, prepare: Callable[[Any], None] = lambda _: None) -> Iterator[Site]:
    """A gateway; ``prepare`` does what is to be in its journal, with one that runs in this process before."""
    from doored import Doored
    from munge_daemon import munged

    from qrmi_core.slurm.cluster import free_ports

    with tempfile.TemporaryDirectory(prefix="qrmi-bench-") as name, munged() as daemon:
        directory, more = Path(name), {}
        if tls:
            more = {"ca": directory / "ca.pem", "tls": certificate(directory)}
        qpus = resources(vendor_port)
        case = Doored(directory, daemon.socket, qpus, log_level="warning", token_from="any", operators=["root"], **more)
        case.port = free_ports(1)
        ports = {"admin_tcp": f"127.0.0.1:{case.port}", "metrics": f"127.0.0.1:{free_ports(1)}"}
        case.settings["listen"] |= ports
        case.write(qpus)
        os.environ["PATH"] = case.path
        with case.running():
            prepare(case)
            job = case.granted(DEVICE, PREMISES, PARIS)
        with serving(case.file, case.jobs_port) as (pid, seconds):
            yield Site(case, job, pid, seconds)


def certificate(directory: Path) -> dict[str, str]:
    """The settings for a certificate of an authority of our own."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    return {"cert": str(directory / "cert.pem"), "key": str(directory / "key.pem")}


if __name__ == "__main__":
    asyncio.run(vendor())
