"""The whole in figures: counted by the stores, and read from headers within a bounded time.

Sessions are counted exactly, by the stores' own indexes. What needs steps is read from the logs of the
sessions that changed last, as many as the time allows; the page says of how many, and while it is open
further looks go on from there. What was read once is not read again.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from marsys_dashboard.ended_steps import EndedStep, EndedSteps
from marsys_dashboard.managers import manager
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

MOST_HEADS = 500
"""Sessions of each store whose steps are read, those that changed last."""
FIRST_BUDGET = 0.1
"""Seconds for reading steps, of all stores together, before the page is shown."""
BUDGET = 0.8
"""The same, for a page that is shown already and looks again."""
KEPT = 5.0
"""Seconds for which a result is given again, whoever asks."""
WEIGHED = 60.0
"""The same, for what whole stores hold, and at most for sessions by time."""
COUNTING_SHARE = 100
"""Sessions by time are counted anew after so many times as long as counting took."""
TOP = 10
"""Rows of a ranking."""


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
    counted_at: datetime = field(default_factory=utc_now)
    """When ``sessions`` were counted."""
    sessions: dict[datetime, Counter[str]] = field(default_factory=dict)
    """Bucket of the last event → sessions per status."""
    steps: dict[datetime, Counter[str]] = field(default_factory=dict)
    """Bucket → steps that ended, completed or failed."""
    steps_read_of: int = 0
    """Sessions whose steps were read."""
    with_steps: int = 0
    """Sessions that have steps, of those that changed last."""
    agents: dict[str, Agent] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(agent, error) → how often."""
    usage: dict[str, Usage] = field(default_factory=dict)
    largest: list[tuple[str, Head]] = field(default_factory=list)
    """(store, head) of the sessions that hold the most, whatever the range."""
    checkpoints: list[tuple[str, Head]] = field(default_factory=list)
    """Those in the range with the most checkpoints."""
    problems: dict[str, str] = field(default_factory=dict)

    heads_read: int = 0
    """Sessions that changed last, whose steps are told of."""

    @property
    def goes_on(self) -> bool:
        """Will a further look have read more?"""
        return self.steps_read_of < self.with_steps and not self.problems

    @property
    def steps_are_sampled(self) -> bool:
        return self.heads_read < self.total or self.steps_read_of < self.with_steps

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


@dataclass(frozen=True)
class Weight:
    """What a store holds."""

    usage: Usage
    largest: list[tuple[str, Head]]


@dataclass(frozen=True)
class Counted:
    """A store's sessions per status, by the bucket of their last event."""

    at: datetime
    good_until: float
    buckets: dict[datetime, dict[str, int]]


def _floor(moment: datetime, bucket: timedelta) -> datetime:
    seconds = bucket.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


Kept = tuple[float, asyncio.AbstractEventLoop, asyncio.Future[Overview]]
_kept: dict[tuple[str, tuple[str, ...]], Kept] = {}
_weighed: dict[str, tuple[float, Weight]] = {}
_buckets: dict[tuple[str, str], Counted] = {}
_steps = EndedSteps()


async def overview(chosen: str, stores: list[str], *, again: bool = False) -> Overview:
    """Computed once for all who ask within KEPT seconds. ``again``: for a page that is shown already, and has
    time until more is read."""
    key, loop = (chosen, tuple(stores)), asyncio.get_running_loop()
    known = _kept.get(key)
    if known and known[1] is loop and _holds(known, again):
        return await asyncio.shield(known[2])
    task = loop.create_task(compute(chosen, stores, BUDGET if again else FIRST_BUDGET))
    _kept[key] = (time.monotonic(), loop, task)
    return await asyncio.shield(task)


def _holds(known: Kept, again: bool) -> bool:
    made, _loop, task = known
    if task.cancelled() or time.monotonic() - made >= KEPT:
        return False
    return not (again and task.done() and (task.exception() or task.result().goes_on))


def forget() -> None:
    """Compute anew at the next request, for tests."""
    _kept.clear()
    _weighed.clear()
    _buckets.clear()
    _steps.forget()


async def compute(chosen: str, stores: list[str], budget: float) -> Overview:
    """Raises the error of a store where none can be reached."""
    until = utc_now()
    found = Overview(chosen, until - RANGES[chosen], until, BUCKETS[chosen])
    found.sessions = {bucket: Counter() for bucket in found.buckets()}
    found.steps = {bucket: Counter() for bucket in found.buckets()}
    newest: list[tuple[str, Head]] = []
    for store in stores:
        query = HeadQuery(since=found.since, limit=MOST_HEADS)
        try:
            heads, *_ = await asyncio.gather(
                manager(store).storage.heads(query), _count(store, found), _weigh(store, found)
            )
        except StorageError as error:
            found.problems[store] = str(error)
            if len(found.problems) == len(stores):
                raise
        else:
            newest += [(store, head) for head in heads]
    found.heads_read = len(newest)
    await _read_steps(found, newest, time.monotonic() + budget)
    with_some = [of for of in newest if _checkpoints(of)]
    found.checkpoints = sorted(with_some, key=_checkpoints, reverse=True)[:TOP]
    found.largest = sorted(found.largest, key=_bytes, reverse=True)[:TOP]
    for agent in found.agents.values():
        agent.durations.sort()
    return found


async def _count(store: str, found: Overview) -> None:
    storage = manager(store).storage
    now = await storage.count_by_status(HeadQuery(since=found.since))
    found.now.update(now)
    found.total += sum(now.values())
    found.questions += sum((await storage.count_by_status(HeadQuery(questions=True))).values())
    counted = await _counted(store, found)
    found.counted_at = min(found.counted_at, counted.at)
    for start in found.sessions.keys() & counted.buckets.keys():
        found.sessions[start].update(counted.buckets[start])


async def _counted(store: str, found: Overview) -> Counted:
    """By the bucket of the last event; what clocks of other machines put beyond the end is in the last one.
    Where that is costly it is not done at every look."""
    known = _buckets.get((store, found.range))
    if known and time.monotonic() < known.good_until:
        return known
    began = time.monotonic()
    storage = manager(store).storage
    counts = {}
    starts = found.buckets()
    for start, until in itertools.zip_longest(starts, starts[1:]):
        query = HeadQuery(since=max(start, found.since), until=until)
        counts[start] = await storage.count_by_status(query)
    ended = time.monotonic()
    good_for = min(WEIGHED, COUNTING_SHARE * (ended - began))
    _buckets[store, found.range] = made = Counted(utc_now(), ended + good_for, counts)
    return made


async def _weigh(store: str, found: Overview) -> None:
    weighed, weight = _weighed.get(store, (0.0, None))
    if weight is None or time.monotonic() - weighed >= WEIGHED:
        storage = manager(store).storage
        largest = await storage.heads(HeadQuery(sort="-state_bytes", limit=TOP))
        weight = Weight(await storage.usage(), [(store, head) for head in largest])
        _weighed[store] = (time.monotonic(), weight)
    found.usage[store] = weight.usage
    found.largest += weight.largest


def _bytes(of: tuple[str, Head]) -> int:
    return of[1].counts["state_bytes"]


def _checkpoints(of: tuple[str, Head]) -> int:
    return of[1].counts["checkpoints"]


def _tally(buckets: dict[datetime, Counter[str]], found: Overview, at: datetime, name: str) -> None:
    """What clocks of other machines put outside of the range goes to its nearest end."""
    inside = min(max(at, found.since), found.until)
    buckets[_floor(inside, found.bucket)][name] += 1


async def _read_steps(found: Overview, newest: list[tuple[str, Head]], deadline: float) -> None:
    """The sessions that changed last first, of all stores, until the time is over; those known already in any
    case."""
    newest.sort(key=lambda of: of[1].updated_at or found.since, reverse=True)
    worked = [of for of in newest if of[1].counts["steps"]]
    found.with_steps = len(worked)
    for store, head in worked:
        if time.monotonic() > deadline and not _steps.knows(store, head):
            continue
        try:
            steps = await _steps.of(store, manager(store), head)
        except StateError as error:
            found.problems[f"{store} / {head.session_id}"] = str(error)
            continue
        found.steps_read_of += 1
        _count_steps(found, steps)
        await asyncio.sleep(0)  # whoever else waits for this process comes in between


def _count_steps(found: Overview, steps: Iterable[EndedStep]) -> None:
    for step in steps:
        if step.at < found.since:
            return
        agent = found.agents.setdefault(step.agent, Agent())
        _tally(found.steps, found, step.at, "completed" if step.error is None else "failed")
        if step.duration is not None:
            agent.durations.append(step.duration)
        if step.error is None:
            agent.completed += 1
        else:
            agent.failed += 1
            found.failures[step.agent, step.error] += 1
