# SPDX-License-Identifier: Apache-2.0
"""Two users with four jobs at each door: every route there is, tried with what is another's.

The routes are those that the doors themselves tell of, so none can be forgotten: one without a line in the table of
:mod:`route_cases` fails.
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from doored import HOME, Job
from munge_daemon import Munged
from route_cases import TABLES, Ask, key_of, paths

from qrmi_core.gateway.doors.doors import DOORS, Doors, door_type

if TYPE_CHECKING:
    from route_families import Family, Started

ELSEWHERE = "127.0.0.2"
PASSING = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=/results/)[\w.-]+")
"""Moments, and signed links."""

LONG = 8
"""Characters of what is looked for in answers: a number may stand there for something else."""

OWN = {"qpu", "own", "computer", "instance"}
"""What is no secret of a job's: names of QPUs and of the site's own instance."""


@dataclass
class Holder:
    """A job of Slurm's, and what it has at the door."""

    job: Job
    uid: int
    qpu: str
    has: Mapping[str, str]


class Crowd:
    """Two users with two jobs each at a door, one on either QPU."""

    def __init__(self, family: Family, started: Started) -> None:
        self.family = family
        self.started = started
        self.holders: list[Holder] = []
        gateway = started.gateway
        users = [pwd.getpwnam(name).pw_uid for name in ("nobody", "daemon")]
        for (number, uid), (account, qpu) in itertools.product(enumerate(users), zip("ab", family.qpus, strict=True)):
            job = gateway.granted(qpu, uid=uid, account=account)
            has = family.made(started, job, qpu, f"tag-of-{number}-{account}")
            self.holders.append(Holder(job, uid, qpu, {**has, "qpu": qpu}))
        door = gateway.gateway.doors.door(family.kind)
        assert door is not None
        self.routes = list(door.routes())

    def asks(self) -> Iterator[tuple[str, str, Ask]]:
        """Every method and path, with what is sent there."""
        for route in self.routes:
            for ask in self.family.table[key_of(route)]:
                for path in paths(route, ask):
                    for method in ("GET", "POST", "DELETE") if route.method == "*" else (route.method,):
                        yield method, path, ask

    def send(
        self, by: Holder, method: str, path: str, ask: Ask, known: Mapping[str, str], *, at: str | None = None,
        token: str | None = None, source: str = HOME, uid: int | None = None,
    ) -> tuple[int, Any]:  # fmt: skip
        """The answer to somebody who names what is ``known``, at his own QPU or another."""
        known = {**known, "own": by.qpu, "resource": at or by.qpu}
        body, headers = ask.filled(known)
        uid = by.uid if uid is None else uid
        own = self.family.credential(self.started, token or by.job.token, uid, ask)
        return by.job.ask(method, path.format(**known), body, headers={**own, **headers}, source=source)

    def view(self, of: Holder) -> dict[str, tuple[int, str]]:
        """What somebody sees of his own."""
        asks = [(path, ask) for method, path, ask in self.asks() if method == "GET"]
        answers = {f"{path} {ask.headers}": self.send(of, "GET", path, ask, of.has) for path, ask in asks}
        return {path: (status, unnamed(told, {})) for path, (status, told) in answers.items()}


@pytest.mark.parametrize("kind", DOORS)
def test_every_route_has_a_line_in_the_table(kind: str, tmp_path: Path) -> None:
    door = door_type(kind)
    assert door is not None
    gateway = SimpleNamespace(settings=SimpleNamespace(state_dir=str(tmp_path)))
    of_the_site = SimpleNamespace(gateway=gateway, when_stopping=lambda _call: None)
    routes = {key_of(route) for route in door(cast("Doors", of_the_site)).routes()}
    assert (sorted(routes - TABLES[kind].keys()), sorted(TABLES[kind].keys() - routes)) == ([], [])


@pytest.fixture(scope="module", params=DOORS)
def crowd(request: pytest.FixtureRequest, daemons: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    if request.param == "pasqal-local" and os.geteuid() != 0:
        pytest.skip("the root helper runs as root")
    from route_families import FAMILIES  # it imports what the vendors' servers need

    family = FAMILIES[request.param](request.param)
    with family.started(tmp_path_factory.mktemp("gateway"), daemons) as started:
        yield Crowd(family, started)


def unnamed(told: Any, known: Mapping[str, str]) -> str:
    """An answer without what was asked for by its name, and without what no two answers share."""
    if isinstance(told, dict):
        told = {name: value for name, value in told.items() if name not in {"trace", "request_id"}}
    text = told.decode(errors="replace") if isinstance(told, bytes) else json.dumps(told, sort_keys=True)
    for value in sorted(known.values(), key=len, reverse=True):
        text = text.replace(value, "?") if len(value) > LONG else text
    return PASSING.sub("PASSING", text)


def leaked(text: str, other: Holder, by: Holder) -> list[str]:
    """What of another's is in an answer to somebody."""
    found = [value for name, value in other.has.items() if name not in OWN and len(value) > LONG and value in text]
    number = other.has.get("number")  # Warden knows users, and not their jobs
    if number is not None and other.uid != by.uid and re.search(rf'"id": {number}\b', text):
        found.append(number)
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_anothers_and_what_is_nobodys_are_the_same(crowd: Crowd) -> None:
    runs, views, asked = crowd.started.vendor.emulator.device.runs, [*map(crowd.view, crowd.holders)], 0
    for by, other in itertools.permutations(crowd.holders, 2):
        nobodys = {**crowd.family.nobodys, "qpu": "nobodys_qpu"}
        for method, path, ask in crowd.asks():
            named = {name for name in other.has if f"{{{name}}}" in path + ask.told}
            if ask.held or ("qpu" in named and other.qpu == by.qpu):
                continue  # it is his own, or as good as a token: see below
            answers = []
            for known in (other.has, nobodys):
                status, told = crowd.send(by, method, path, ask, known)
                assert status in ask.status, (method, path, ask, status, told)
                answers.append((status, unnamed(told, {name: known[name] for name in named})))
            assert answers[0] == answers[1], (method, path, ask)
            assert not leaked(answers[0][1], other, by), (method, path, ask)
            if other.qpu != by.qpu and "{resource}" in path and not (ask.public or ask.munge):  # a user has both
                status, told = crowd.send(by, method, path, ask, other.has, at=other.qpu)
                assert status in {401, 403, 404}, (method, path, ask, told)
                assert not leaked(unnamed(told, {}), other, by), (method, path, ask)
            asked += 1
    assert asked > 100
    assert crowd.started.vendor.emulator.device.runs == runs
    assert [*map(crowd.view, crowd.holders)] == views


def admitted(crowd: Crowd, by: Holder, *, links: bool = True, **how: Any) -> list[str]:
    """The routes that let somebody in, though they ask for a token; ``links`` are as good as tokens."""
    found = []
    for method, path, ask in crowd.asks():
        if (links and ask.held) or not ask.public:
            status, told = crowd.send(by, method, path, ask, by.has, **how)
            if status != 401 or any(value in unnamed(told, {}) for value in by.has.values() if len(value) > LONG):
                found.append(f"{method} {path}: {status}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_token_is_nothing_elsewhere_and_after_the_jobs_end(crowd: Crowd) -> None:
    ends, stays = crowd.holders[::2], crowd.holders[1::2]  # one of each user
    web_token = crowd.started.gateway.gateway.doors.tokens.web_token
    tokens = {holder.job.lease: web_token(holder.job.lease, seconds=3600) for holder in crowd.holders}
    for by in ends:
        for token in (by.job.token, tokens[by.job.lease]):
            assert admitted(crowd, by, token=token, source=ELSEWHERE) == []
    assert admitted(crowd, ends[0], token="nobodys", uid=os.getuid(), links=False) == []
    for by in ends:
        crowd.started.gateway.release(by.job)
        for token in (by.job.token, tokens[by.job.lease]):
            assert admitted(crowd, by, token=token) == []
    for by in stays:
        assert len(admitted(crowd, by)) > 5
