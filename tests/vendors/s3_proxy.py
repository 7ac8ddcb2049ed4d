# SPDX-License-Identifier: Apache-2.0
"""moto's S3 server behind a small proxy that makes faults, and checks signatures, which moto does not.

The check is written from the definition of AWS Signature Version 4 (query parameters), without boto.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

import aiohttp
import boto3
from aiohttp import web
from moto.server import ThreadedMotoServer

from qrmi_core.gateway.faults import Faults

__all__ = ["REGION", "S3Site", "s3_site"]

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "a secret of the storage", "eu-de"
HOP = frozenset({"connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass
class S3Site:
    """A storage with one bucket of its own; ``seen`` are the requests that it answered, as method, path and query."""

    url: str
    bucket: str
    faults: Faults
    client: object
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return {
            "QRMI_IBM_QS_S3_ENDPOINT": self.url,
            "QRMI_IBM_QS_S3_BUCKET": self.bucket,
            "QRMI_IBM_QS_S3_REGION": REGION,
            "QRMI_IBM_QS_AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def keys(self) -> set[str]:
        """The keys of the objects in the bucket."""
        return {each["Key"] for each in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])}


@contextlib.contextmanager
def s3_site(faults: Faults | None = None) -> Iterator[S3Site]:
    """A storage for the time of a ``with`` block; what reaches it through ``url`` may be made faulty."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        behind = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=behind, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
        )
        bucket = f"jobs-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        found = S3Site("", bucket, faults or Faults(), client)
        with _Proxy(behind, found):
            yield found
        client.close()
    finally:
        moto.stop()


class _Proxy:
    def __init__(self, behind: str, site: S3Site) -> None:
        self._behind = behind
        self._site = site
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._site.faults.middleware], client_max_size=2**28)
        app.router.add_route("*", "/{bucket}/{key}", self._pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._site.url = "http://{}:{}".format(*runner.addresses[0])
            self._ready.set()
            await self._stopping.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        self._site.seen.append((request.method, request.path, query))
        if problem := _problem(request, query):
            status, code, text = problem
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
            return web.Response(status=status, text=body, content_type="application/xml")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        async with self._session.request(
            request.method, f"{self._behind}{request.path_qs}", headers=headers, data=await request.read()
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


def _problem(request: web.Request, query: dict[str, str]) -> tuple[int, str, str] | None:
    """What S3 would say of the signature of a request, None if it is good."""
    if "X-Amz-Signature" not in query:
        return 403, "AccessDenied", "Access Denied"
    key, day, region, service, _ = query["X-Amz-Credential"].split("/")
    if key != ACCESS_KEY:
        return 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
    if (region, service) != (REGION, "s3"):
        return 400, "AuthorizationQueryParametersError", f"the region '{region}' is wrong; expecting '{REGION}'"
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if not 0 < int(query["X-Amz-Expires"]) <= 604800:
        return 400, "AuthorizationQueryParametersError", "X-Amz-Expires must be less than a week (in seconds)"
    if made + timedelta(seconds=int(query["X-Amz-Expires"])) < datetime.now(UTC):
        return 403, "AccessDenied", "Request has expired"
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    signed = "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature")
    canonical = f"{request.method}\n{request.rel_url.raw_path}\n{signed}\nhost:{request.host}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, service, "aws4_request", f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"):
        signature = hmac.digest(signature, part.encode(), "sha256")
    if signature.hex() != query["X-Amz-Signature"]:
        return 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided."
    return None
