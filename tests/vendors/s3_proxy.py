# SPDX-License-Identifier: Apache-2.0
"""moto's S3 server behind a small proxy that makes faults, and checks signatures, which moto does not.

The check is written from the definition of AWS Signature Version 4 (in a header, and in a URL), without boto.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

import aiohttp
import boto3
from aiohttp import web
from moto.server import ThreadedMotoServer

from qrmi_core.gateway.faults import Faults
from qrmi_core.gateway.loopback import LARGEST_BODY, LoopbackServer

__all__ = ["REGION", "S3Site", "s3_site"]

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "a secret of the storage", "eu-de"
# moto writes URLs to its log, so what is signed stays here.
KNOWN_TO_MOTO = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
}
HOP = frozenset(
    {"authorization", "connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"}
)


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

    def stored(self) -> set[str]:
        """The keys of the objects in the bucket."""
        return {each["Key"] for each in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])}


@contextlib.contextmanager
def s3_site(faults: Faults | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[S3Site]:
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
        with _Proxy(behind, found, tls) as proxy:
            found.url = proxy.url
            yield found
        client.close()
    finally:
        moto.stop()


class _Proxy(LoopbackServer):
    def __init__(self, behind: str, site: S3Site, tls: ssl.SSLContext | None) -> None:
        super().__init__(tls=tls)
        self._behind = behind
        self._site = site

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._site.faults.middleware], client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{bucket}/{key}", self._pass_on)
        return app

    @contextlib.asynccontextmanager
    async def surroundings(self) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield

    async def _pass_on(self, request: web.Request) -> web.Response:
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        self._site.seen.append((request.method, request.path, query))
        body = await request.read()
        if problem := _problem(request, query, hashlib.sha256(body).hexdigest()):
            status, code, text = problem
            told = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
            return web.Response(status=status, text=told, content_type="application/xml")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        async with self._session.request(
            request.method, f"{self._behind}{request.path}", headers={**headers, **KNOWN_TO_MOTO}, data=body
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


def _problem(request: web.Request, query: dict[str, str], body: str) -> tuple[int, str, str] | None:
    """What S3 would say of the signature of a request, None if it is good; ``body`` is the hash of what came."""
    if "X-Amz-Signature" in query:
        signature = _Signature(
            query["X-Amz-Credential"], query["X-Amz-SignedHeaders"], query["X-Amz-Signature"], query["X-Amz-Date"]
        )
        life, hashed, malformed = int(query["X-Amz-Expires"]), "UNSIGNED-PAYLOAD", "AuthorizationQueryParametersError"
    elif request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
        parts = request.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
        told = dict(part.split("=", 1) for part in parts)
        signature = _Signature(
            told["Credential"], told["SignedHeaders"], told["Signature"], request.headers["X-Amz-Date"]
        )
        life, hashed, malformed = 900, body, "AuthorizationHeaderMalformed"
    else:
        return 403, "AccessDenied", "Access Denied"
    key, _, region, service, _ = signature.credential.split("/")
    if key != ACCESS_KEY:
        return 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
    if (region, service) != (REGION, "s3"):
        return 400, malformed, f"the region '{region}' is wrong; expecting '{REGION}'"
    if not 0 < life <= 604800:
        return 400, malformed, "X-Amz-Expires must be less than a week (in seconds)"
    made = datetime.strptime(signature.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if made + timedelta(seconds=life) < datetime.now(UTC):
        return 403, "AccessDenied", "Request has expired"
    if request.headers.get("X-Amz-Content-SHA256", hashed) != hashed:
        return 400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match."
    if signature.expected(request, query, hashed) != signature.given:
        return 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided."
    return None


@dataclass
class _Signature:
    """A signature of AWS Signature Version 4 as it was given."""

    credential: str
    headers: str
    given: str
    date: str

    def expected(self, request: web.Request, query: dict[str, str], hashed: str) -> str:
        """What it should be."""
        pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
        listed = "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature")
        headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in self.headers.split(";"))
        canonical = f"{request.method}\n{request.rel_url.raw_path}\n{listed}\n{headers}\n{self.headers}\n{hashed}"
        scope = self.credential.partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = f"AWS4{SECRET_KEY}".encode()
        for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{self.date}\n{scope}\n{digest}"):
            signature = hmac.digest(signature, part.encode(), "sha256")
        return signature.hex()
