# SPDX-License-Identifier: Apache-2.0
"""Jobs that are sent to IBM's cloud once, whatever the network does; see :mod:`qrmi_core.submission` for drivers."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict

from qrmi_core import polling
from qrmi_core.gateway.bodies import Rebuilt
from qrmi_core.gateway.doors.door import Refusal
from qrmi_core.gateway.doors.pass_through import Answer
from qrmi_core.gateway.doors.submitting import Unanswered, sent_once
from qrmi_core.gateway.doors.upstream import Upstream, VendorAway, relayed_headers
from qrmi_core.submission import LIST_LAG

__all__ = ["submitted", "whole"]

LOOK_SECONDS = 10.0
UNKNOWN = 523
"""A status at which IBM's client does not send the job again; it does so at all that are more usual."""


async def submitted(way: Upstream, headers: Mapping[str, str], body: Rebuilt, tag: str | None) -> Answer:
    """The vendor's answer to a new job.

    Where it leaves open whether the job was taken, a job with this tag is looked for, twice since lists lag, and the
    body is sent again only when there is none.

    Raises:
        VendorAway: it did not arrive.
        Refusal: nobody knows whether it was taken.
    """

    async def send() -> Answer:
        async with way.send("POST", "/jobs", headers=headers, data=body.data, length=body.length) as response:
            answer = await whole(response)
        if answer.status < 500 or tag is None:
            return answer
        return await _looked_up(way, headers, tag) or answer

    look_up = None if tag is None else functools.partial(_looked_up, way, headers, tag, must=True)
    try:
        return await sent_once(send, look_up)
    except Unanswered as away:
        raise _unknown() from away


async def whole(response: aiohttp.ClientResponse) -> Answer:
    """All of an answer.

    Raises:
        VendorAway: it was cut off.
    """
    try:
        return Answer(response.status, relayed_headers(response), await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise VendorAway("the vendor's answer was cut off", arrived=True) from error


async def _looked_up(way: Upstream, headers: Mapping[str, str], tag: str, *, must: bool = False) -> Answer | None:
    """What the vendor would have answered to the job that has a tag; None where there is no such job."""
    path = f"/jobs?tags={quote(tag, safe='')}&limit=1&exclude_params=true"
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            for pause in (0.0, LIST_LAG):
                await polling.pause_async(pause)
                status, told = await way.json("GET", path, headers=headers)
                if status != 200:
                    raise VendorAway("the list of jobs cannot be read", arrived=True)
                if jobs := json.loads(told)["jobs"]:
                    kept = {key: jobs[0][key] for key in ("id", "backend", "session_id", "private") if key in jobs[0]}
                    return Answer(200, CIMultiDict({hdrs.CONTENT_TYPE: "application/json"}), json.dumps(kept).encode())
    except (VendorAway, TimeoutError, ValueError, KeyError, TypeError) as error:
        if must:
            raise _unknown() from error
    return None


def _unknown() -> Refusal:
    return Refusal(
        UNKNOWN,
        "nobody knows whether the job was taken: the connection to IBM broke. Look at service.jobs() before sending it "
        "again",
    )
