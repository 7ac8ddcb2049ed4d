# SPDX-License-Identifier: Apache-2.0
"""Answers that repeat a sequence of megabytes pass through a file, without our tags; real servers on both sides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from qrmi_core.gateway.bodies import IN_MEMORY, Rebuilt, Spool
from qrmi_core.gateway.doors.long_answers import LongAnswer, received
from qrmi_core.gateway.doors.pasqal_forms import decoded, listed, new_tag, without_tags
from qrmi_core.gateway.doors.pass_through import Answer

SEQUENCE = json.dumps({"operations": ['é"\\'] * 400_000})


def batch(*tags: str, **more: Any) -> dict[str, Any]:
    told = {"id": "b1", "sequence_builder": SEQUENCE, "status": "DONE", "jobs": [{"id": "j"}], "tags": [*tags]}
    return {"status": "success", "data": {**told, **more}, "code": 200}


async def served(told: bytes, spool: Spool, *, length: int | None = None) -> tuple[Answer, bytes]:
    """What the gateway makes of an answer that has ``length`` bytes by its head, and what its client gets."""
    answers: list[Answer] = []

    async def vendor(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = length or len(told)
        await response.prepare(request)
        await response.write(told)
        if length is not None and request.transport is not None:
            request.transport.close()
        return response

    async def gateway(_: web.Request) -> web.StreamResponse:
        return answers[0].response()

    application = web.Application()
    application.add_routes([web.get("/vendor", vendor), web.get("/gateway", gateway)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/vendor") as told_by:
                answers.append(
                    await received(told_by, spool, repeats="sequence_builder", tags="tags", clean=without_tags)
                )
            async with client.get(f"{url}/gateway") as shown:
                assert (shown.status, shown.content_type) == (200, "application/json")
                got = await shown.read()
                assert shown.content_length == len(got)
                return answers[0], got
    finally:
        await runner.cleanup()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, budget=2**26)


def test_a_long_answer_goes_on_without_our_tag_and_is_not_held(spool: Spool) -> None:
    answer, got = asyncio.run(served(json.dumps(batch("mine", new_tag())).encode(), spool))
    assert got == json.dumps(batch("mine")).encode()
    assert isinstance(answer, LongAnswer)
    short = {"id": "b1", "status": "DONE", "jobs": [{"id": "j"}], "tags": ["mine"]}
    assert (answer.body, asyncio.run(decoded(answer))) == (b"", short)
    assert len(got) > 8 * IN_MEMORY
    assert spool.used == 0


def test_one_that_nobody_reads_gives_its_room_back(spool: Spool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(2 * IN_MEMORY)

    async def used_by_a_response() -> int:
        kept = await spool.keep(pieces())
        answer = LongAnswer(200, CIMultiDict(), b"", kept, Rebuilt(kept, [(0, kept.size)]), {})
        assert answer.response().content_length == kept.size
        return spool.used

    assert asyncio.run(used_by_a_response()) == 2 * IN_MEMORY
    assert spool.used == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('["mine", OURS]', '["mine"]'),
        ('["mine",OURS , OURS]', '["mine"]'),
        ('[OURS, "mine", OURS, "yours"]', '["mine", "yours"]'),
        ('{"tags": [ OURS ], "more": [OURS, OURS]}', '{"tags": [  ], "more": []}'),
        ('["qrmi-other", "mine"]', '["qrmi-other", "mine"]'),
        ("[]", "[]"),
    ],
)
def test_our_tags_are_taken_out(before: str, after: str) -> None:
    assert without_tags(before.replace("OURS", json.dumps(new_tag())).encode()) == after.encode()


@pytest.mark.parametrize(
    "told",
    [
        {"status": "success", "data": [batch(new_tag())["data"], batch("mine", new_tag())["data"]]},
        {"status": "success", "data": {"errors": {}, "batches": [batch(new_tag())["data"]]}},
        {"status": "success", "data": SEQUENCE, "tags": [new_tag()]},
        [SEQUENCE, new_tag()],
    ],
)
def test_others_are_cleaned_as_a_whole(spool: Spool, told: Any) -> None:
    answer, got = asyncio.run(served(json.dumps(told).encode(), spool))
    assert not isinstance(answer, LongAnswer)
    assert got == without_tags(json.dumps(told).encode())
    assert b'"qrmi-' not in got
    assert spool.used == 0
    if isinstance(told, dict) and isinstance(told["data"], list):
        assert [each["tags"] for each in asyncio.run(listed(answer))] == [[], ["mine"]]


def test_a_short_one_is_in_memory(spool: Spool) -> None:
    told = batch("mine", new_tag(), sequence_builder="{}")
    answer, got = asyncio.run(served(json.dumps(told).encode(), spool))
    assert json.loads(got)["data"]["tags"] == ["mine"]
    assert asyncio.run(decoded(answer))["sequence_builder"] == "{}"


def test_one_that_is_cut_off_or_for_which_there_is_no_room_is_none(spool: Spool, tmp_path: Path) -> None:
    told = json.dumps(batch()).encode()
    with pytest.raises(aiohttp.ClientError, match="Response payload is not completed"):
        asyncio.run(served(told, spool, length=len(told) + 1))
    small = Spool(tmp_path, budget=2**20)
    with pytest.raises(OSError, match="the gateway holds as many bodies as it can"):
        asyncio.run(served(told, small))
    assert spool.used == small.used == 0
