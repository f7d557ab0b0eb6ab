"""Sessions of a size: written as events, many at once, as a program would have recorded them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from state_core import StateManager
from state_core.changes import append_items, set_value
from state_core.events import Event

BATCH = 1000
WORDS = "Read the paper, compared its overhead with the others, and wrote down what it assumes. "
HANDS = 20
"""Branches under the first; the others hang on these in turn."""


def contexts(count: int) -> list[Event]:
    """Events that are small and alike."""
    return [Event(kind="context.changed", changes=[set_value(["context", "n"], n)]) for n in range(count)]


def history(branches: int, steps: int, messages: int, *, ended: bool = False) -> Iterator[Event]:
    """A root, branches under it and branches under these, each at its steps; it is running at the end."""
    clock = _Clock(hours=6, count=branches + 2 * steps + messages)
    yield Event(kind="session.created", at=clock.next(), data={"workflow": "research", "title": ""})
    yield Event(kind="session.started", at=clock.next(), data={"owner": "bench"})
    names = ["root", *(f"Researcher-{n}" for n in range(1, branches))]
    for number, name in enumerate(names):
        yield _opened(name, _parents(names, number), clock)
    for number in range(steps):
        yield _started(names[number % len(names)], number, clock)
        for part in range(messages * number // steps, messages * (number + 1) // steps):
            yield _message(names[number % len(names)], part, clock)
        yield _completed(names[number % len(names)], number, clock)
    if ended:
        yield Event(kind="session.completed", at=clock.next())


def _parents(names: list[str], number: int) -> list[str]:
    if number == 0:
        return []
    return [names[0] if number <= HANDS else names[1 + number % HANDS]]


class _Clock:
    def __init__(self, hours: float, count: int) -> None:
        self._now = datetime.now(UTC) - timedelta(hours=hours)
        self._beat = timedelta(hours=hours) / (count + 10)

    def next(self) -> datetime:
        self._now += self._beat
        return self._now


def _opened(name: str, parents: list[str], clock: _Clock) -> Event:
    data = {"name": name, "parents": parents}
    return Event(kind="branch.opened", at=clock.next(), branch_id=name, status="running", data=data)


def _started(branch: str, number: int, clock: _Clock) -> Event:
    changes = [set_value(["branches", branch, "steps", f"s{number}", "input"], {"paper": number})]
    return _sized(
        kind="step.started", at=clock.next(), branch_id=branch, step_id=f"s{number}", agent="Researcher",
        status="running", data={"attempt": 1}, changes=changes,
    )  # fmt: skip


def _completed(branch: str, number: int, clock: _Clock) -> Event:
    changes = [set_value(["branches", branch, "steps", f"s{number}", "output"], WORDS)]
    return _sized(
        kind="step.completed", at=clock.next(), branch_id=branch, step_id=f"s{number}", agent="Researcher",
        status="completed", duration=1.5, changes=changes,
    )  # fmt: skip


def _message(branch: str, number: int, clock: _Clock) -> Event:
    at = clock.next()
    message = {"role": "assistant", "content": f"{WORDS} ({number})", "agent": "Researcher"}
    changes = [append_items(["branches", branch, "memory"], [{**message, "created_at": at.isoformat()}])]
    return _sized(
        kind="message.added", at=at, branch_id=branch, agent="Researcher",
        data={"count": 1, "role": "assistant"}, changes=changes,
    )  # fmt: skip


def _sized(**fields: object) -> Event:
    return Event(size=len(str(fields["changes"])), **fields)  # type: ignore[arg-type]


async def record(manager: StateManager, session_id: str, events: Iterator[Event] | list[Event]) -> int:
    """Returns the number of its last event."""
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            await manager.log.append(session_id, batch)
            batch = []
    if batch:
        await manager.log.append(session_id, batch)
    return (await manager.get_head(session_id)).last_seq
