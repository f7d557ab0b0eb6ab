"""The whole in figures: computed from headers, the newest sessions first, within a bounded time.

What is counted exactly comes from the stores' own counts. What needs steps is read from the logs of the
sessions that changed last, as many as the time allows; the page says of how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from marsys_dashboard.managers import manager
from state_core.events import EventKind, Header
from state_core.exceptions import StateError, StorageError
from state_core.records import Head, utc_now
from state_core.storage.base import HeadQuery, Usage

RANGES: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
BUCKETS: Mapping[str, timedelta] = {
    "1h": timedelta(minutes=2),
    "6h": timedelta(minutes=10),
    "24h": timedelta(hours=1),
    "7d": timedelta(hours=6),
    "30d": timedelta(days=1),
}
"""How long one bar is."""

MOST_HEADS = 5000
"""Sessions of each store that are read, those that changed last."""
PAGE = 500
BUDGET = 0.8
"""Seconds for reading steps, of all stores together."""
MOST_STEPS = 2000
"""Steps of one session that are read, the newest."""
KEPT = 5.0
"""Seconds for which a result is given again, whoever asks."""
TOP = 10
"""Rows of a ranking."""
ENDED = frozenset({EventKind.STEP_COMPLETED, EventKind.STEP_FAILED})


@dataclass
class Agent:
    """What an agent's steps were like."""

    durations: list[float] = field(default_factory=list)
    """Seconds of the steps that ended, sorted once all are there."""
    failed: int = 0

    completed: int = 0

    @property
    def steps(self) -> int:
        return self.completed + self.failed

    @property
    def p50(self) -> float | None:
        return _quantile(self.durations, 0.5)

    @property
    def p95(self) -> float | None:
        return _quantile(self.durations, 0.95)


def _quantile(ordered: list[float], share: float) -> float | None:
    """The smallest value that so many are not above."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else None


@dataclass
class Overview:
    range: str
    since: datetime
    until: datetime
    bucket: timedelta
    total: int = 0
    """Sessions whose last event lies in the range, exactly."""
    now: Counter[str] = field(default_factory=Counter)
    """Of these, per status, exactly."""
    questions: int = 0
    heads_read: int = 0
    sessions: dict[datetime, Counter[str]] = field(default_factory=dict)
    """Bucket of the last event → sessions per status."""
    steps: dict[datetime, Counter[str]] = field(default_factory=dict)
    """Bucket → steps that ended, completed or failed."""
    steps_read_of: int = 0
    """Sessions whose steps were read."""
    with_steps: int = 0
    """Sessions that have steps, of those read."""
    agents: dict[str, Agent] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(agent, error) → how often."""
    usage: dict[str, Usage] = field(default_factory=dict)
    largest: list[tuple[str, Head]] = field(default_factory=list)
    """(store, head) of the sessions that hold the most, whatever the range."""
    checkpoints: list[tuple[str, Head]] = field(default_factory=list)
    """Those in the range with the most checkpoints."""
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def is_sampled(self) -> bool:
        return self.heads_read < self.total

    @property
    def steps_are_sampled(self) -> bool:
        return self.is_sampled or self.steps_read_of < self.with_steps

    @property
    def step_count(self) -> int:
        return sum(sum(counts.values()) for counts in self.steps.values())

    @property
    def bucket_minutes(self) -> float:
        return self.bucket.total_seconds() / 60

    def buckets(self) -> list[datetime]:
        first = _floor(self.since, self.bucket)
        number = int((self.until - first) / self.bucket) + 1
        return [first + n * self.bucket for n in range(number)]


def _floor(moment: datetime, bucket: timedelta) -> datetime:
    seconds = bucket.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


Kept = tuple[float, asyncio.AbstractEventLoop, asyncio.Future[Overview]]
_kept: dict[tuple[str, tuple[str, ...]], Kept] = {}


async def overview(chosen: str, stores: list[str]) -> Overview:
    """Computed once for all who ask within KEPT seconds."""
    key, loop = (chosen, tuple(stores)), asyncio.get_running_loop()
    known = _kept.get(key)
    if known and known[1] is loop and time.monotonic() - known[0] < KEPT and not known[2].cancelled():
        return await asyncio.shield(known[2])
    task = loop.create_task(compute(chosen, stores))
    _kept[key] = (time.monotonic(), loop, task)
    return await asyncio.shield(task)


def forget() -> None:
    """Compute anew at the next request, for tests."""
    _kept.clear()


async def compute(chosen: str, stores: list[str]) -> Overview:
    """Raises the error of a store where none can be reached."""
    until = utc_now()
    found = Overview(chosen, until - RANGES[chosen], until, BUCKETS[chosen])
    read: list[tuple[str, Head]] = []
    for store in stores:
        try:
            read += [(store, head) for head in await _heads(store, found)]
            await _weigh(store, found)
        except StorageError as error:
            found.problems[store] = str(error)
            if len(found.problems) == len(stores):
                raise
    _count_sessions(found, read)
    await _read_steps(found, read)
    found.largest = sorted(found.largest, key=_bytes, reverse=True)[:TOP]
    for agent in found.agents.values():
        agent.durations.sort()
    return found


async def _heads(store: str, found: Overview) -> list[Head]:
    storage = manager(store).storage
    query = HeadQuery(since=found.since, limit=PAGE)
    counts = await storage.count_by_status(query)
    found.now.update(counts)
    found.total += sum(counts.values())
    found.questions += sum((await storage.count_by_status(HeadQuery(questions=True))).values())
    heads: list[Head] = []
    while len(heads) < MOST_HEADS and (page := await storage.heads(query)):
        heads += page
        query = replace(query, after=query.cursor(page[-1]))
    return heads[:MOST_HEADS]


async def _weigh(store: str, found: Overview) -> None:
    storage = manager(store).storage
    found.usage[store] = await storage.usage()
    largest = await storage.heads(HeadQuery(sort="-state_bytes", limit=TOP))
    found.largest += [(store, head) for head in largest]


def _bytes(of: tuple[str, Head]) -> int:
    return of[1].counts["state_bytes"]


def _checkpoints(of: tuple[str, Head]) -> int:
    return of[1].counts["checkpoints"]


def _count_sessions(found: Overview, read: list[tuple[str, Head]]) -> None:
    found.heads_read = len(read)
    found.sessions = {bucket: Counter() for bucket in found.buckets()}
    found.steps = {bucket: Counter() for bucket in found.buckets()}
    for _store, head in read:
        _tally(found.sessions, found, head.updated_at, str(head.status))
    with_some = [of for of in read if _checkpoints(of)]
    found.checkpoints = sorted(with_some, key=_checkpoints, reverse=True)[:TOP]


def _tally(buckets: dict[datetime, Counter[str]], found: Overview, at: datetime | None, name: str) -> None:
    """What clocks of other machines put outside of the range goes to its nearest end."""
    if at is not None:
        inside = min(max(at, found.since), found.until)
        buckets[_floor(inside, found.bucket)][name] += 1


async def _read_steps(found: Overview, read: list[tuple[str, Head]]) -> None:
    """The sessions that changed last first, each store in turn, until the time is over."""
    newest = sorted(read, key=lambda of: of[1].updated_at or found.since, reverse=True)
    worked = [of for of in newest if of[1].counts["steps"]]
    found.with_steps = len(worked)
    deadline = time.monotonic() + BUDGET
    for store, head in worked:
        if time.monotonic() > deadline:
            return
        try:
            events = await _steps_of(store, head)
        except StateError as error:
            found.problems[f"{store} / {head.session_id}"] = str(error)
            continue
        found.steps_read_of += 1
        _count_steps(found, events)


async def _steps_of(store: str, head: Head) -> Iterable[Header]:
    return await manager(store).storage.read_events(
        head.session_id, kinds=ENDED, limit=MOST_STEPS, bodies=False, newest_first=True
    )


def _count_steps(found: Overview, events: Iterable[Header]) -> None:
    for event in events:
        if event.at < found.since:
            return
        agent = found.agents.setdefault(event.agent or "no name", Agent())
        failed = event.kind == EventKind.STEP_FAILED
        _tally(found.steps, found, event.at, "failed" if failed else "completed")
        if event.duration is not None:
            agent.durations.append(event.duration)
        if failed:
            agent.failed += 1
            found.failures[event.agent or "no name", _first_line(event)] += 1
        else:
            agent.completed += 1


def _first_line(event: Header) -> str:
    lines = str(event.data.get("error", "")).strip().splitlines()
    return lines[0][:120] if lines else "no error given"
