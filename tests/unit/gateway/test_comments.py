# SPDX-License-Identifier: Apache-2.0
"""Comments are tried until they are written; that the accounting takes them is shown in tests/system."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from qrmi_core.errors import QRMIError
from qrmi_core.gateway import comments
from qrmi_core.gateway.comments import IN_A_ROW, KEPT_SECONDS, Comment, CommentWriter, gap

SECONDS = 20.0


class Books:
    """An accounting that takes a comment after so many failures."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.written: list[tuple[str, int, int, str]] = []
        self.tries = 0

    def system_comment(self, cluster: str, job_id: int, submitted: int, text: str) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.written.append((cluster, job_id, submitted, text))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "FIRST_GAP", 0.001)


def away() -> QRMIError:
    return QRMIError("slurmdbd is away", transient=True)


def run(writer: CommentWriter, done: Callable[[], bool]) -> None:
    """Let it write until that holds."""

    async def work() -> None:
        running = asyncio.create_task(writer.run())
        async with asyncio.timeout(SECONDS):
            while not done():
                await asyncio.sleep(0.001)
        assert not running.done()
        running.cancel()

    asyncio.run(work())


def test_gaps_grow_to_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [gap(tries) for tries in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert gap(11) == gap(10_000) == 600


def test_a_comment_is_tried_again_until_it_is_written() -> None:
    books, settled = Books(away(), away(), RuntimeError("a mistake of ours")), []
    writer = CommentWriter(books, settled=settled.append)
    writer.add("c", 7, 1_700_000_000, "qpu v=1")
    assert writer.pending == 1
    run(writer, lambda: bool(settled))
    assert (books.tries, books.written) == (4, [("c", 7, 1_700_000_000, "qpu v=1")])
    assert [(each.cluster, each.job_id, each.submitted, each.text) for each in settled] == books.written
    assert writer.pending == 0


def test_what_is_refused_for_good_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    books, settled = Books(QRMIError("the journal knows no lease of job 7")), []
    writer = CommentWriter(books, settled=settled.append)
    writer.add("c", 7, 1, "qpu v=1")
    writer.add("c", 8, 1, "qpu v=1")
    run(writer, lambda: len(settled) == 2)
    assert [each[1] for each in books.written] == [8]
    assert "job 7 has no usage in its SystemComment: the journal knows no lease of job 7" in caplog.text


def test_what_waits_for_seven_days_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    books, settled = Books(away()), []
    writer = CommentWriter(books, settled=settled.append)
    writer.add("c", 7, 1, "qpu v=1", since=time.time() - KEPT_SECONDS)
    run(writer, lambda: bool(settled))
    assert (books.tries, books.written, writer.pending) == (1, [], 0)
    assert "job 7 has no usage in its SystemComment, it is given up: slurmdbd is away" in caplog.text


def test_a_comment_that_is_added_while_another_waits_is_written_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    books = Books(*(away() for _ in range(3)))
    writer = CommentWriter(books)

    async def work() -> None:
        running = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        writer.add("c", 7, 1, "first")
        writer.add("c", 7, 1, "second")
        writer.add("c", 7, 2, "another run")
        async with asyncio.timeout(SECONDS):
            while writer.pending:
                await asyncio.sleep(0.001)
        running.cancel()

    asyncio.run(work())
    assert sorted(each[2:] for each in books.written) == [(1, "second"), (2, "another run")]
    assert caplog.text.count("is tried again: slurmdbd is away") == 2


def test_a_text_that_is_replaced_while_it_is_written_is_written_anew() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Books):
        def system_comment(self, *comment: object) -> None:
            begun.set()
            assert go_on.wait(SECONDS)
            super().system_comment(*comment)  # type: ignore[arg-type]

    books, settled = Slow(), []
    writer = CommentWriter(books, settled=settled.append)
    writer.add("c", 7, 1, "first")

    def replaced() -> bool:
        if begun.is_set() and not go_on.is_set():
            writer.add("c", 7, 1, "second")
            go_on.set()
        return bool(settled)

    run(writer, replaced)
    assert [each[3] for each in books.written] == ["first", "second"]
    assert [each.text for each in settled] == ["second"]


def test_a_caller_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()

    def fails(_: Comment) -> None:
        raise OSError("disk full")

    writer = CommentWriter(books, settled=fails)
    writer.add("c", 7, 1, "qpu v=1")
    writer.add("c", 8, 1, "qpu v=1")
    run(writer, lambda: len(books.written) == 2 and writer.pending == 0)
    assert "job 7: that its SystemComment is settled is not noted" in caplog.text


def test_an_accounting_that_is_away_is_asked_for_one_job_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "FIRST_GAP", 600.0)
    books = Books(*(away() for _ in range(IN_A_ROW + 1)))
    writer = CommentWriter(books)

    async def work() -> None:
        running = asyncio.create_task(writer.run())
        async with asyncio.timeout(SECONDS):
            for job in range(50):
                writer.add("c", job, 1, "qpu v=1")
            await reached(IN_A_ROW)
            assert books.written == []
            writer.add("c", 100, 1, "qpu v=1")
            await reached(IN_A_ROW + 1)
            assert writer.pending == 51
            writer.add("c", 101, 1, "qpu v=1")
            while writer.pending > IN_A_ROW + 1:
                await asyncio.sleep(0.001)
        running.cancel()

    async def reached(tries: int) -> None:
        while books.tries < tries:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert books.tries == tries

    asyncio.run(work())
    assert len(books.written) == 52 - (IN_A_ROW + 1)
