# SPDX-License-Identifier: Apache-2.0
"""Tokens and threads, tokens and forks."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from qrmi_core import VendorUnreachable
from qrmi_core.locks import ForkSafeLock
from qrmi_core.polling import wait_until
from qrmi_core.tokens import BearerToken, Token


def in_child(work: object) -> bool:
    """Whether a forked child has done something within ten seconds."""
    if pid := os.fork():
        done = wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, timeout=10)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return done
    try:
        work()  # type: ignore[operator]
    finally:
        os._exit(0)


def fetching(token: BearerToken, started: threading.Event) -> threading.Thread:
    def ask() -> None:
        with pytest.raises(VendorUnreachable, match="silence"):
            token.current()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert started.wait(10)
    return thread


def test_threads_that_wait_for_a_fetch_share_its_failure() -> None:
    started, go_on, fetches = threading.Event(), threading.Event(), []

    def fetch() -> Token:
        fetches.append(1)
        started.set()
        go_on.wait(10)
        raise VendorUnreachable("silence")

    token = BearerToken(fetch)
    threads = [fetching(token, started) for _ in range(5)]
    waiting = threading.active_count()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert waiting > 5
    assert 1 <= len(fetches) < 5


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_that_is_forked_during_a_fetch_fetches_its_own() -> None:
    started, go_on, parent = threading.Event(), threading.Event(), os.getpid()

    def fetch() -> Token:
        if os.getpid() != parent:
            return Token("of the child")
        started.set()
        go_on.wait(10)
        raise VendorUnreachable("silence")

    token = BearerToken(fetch)
    thread = fetching(token, started)
    assert in_child(token.current)
    go_on.set()
    thread.join(10)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_finds_a_held_lock_open() -> None:
    lock = ForkSafeLock()

    def take() -> None:
        with lock:
            pass

    with lock:
        assert in_child(take)
