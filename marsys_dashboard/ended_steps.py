"""The steps that ended in sessions: read once from each log, and only what is new at each further look."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from state_core.events import EventKind, Header
from state_core.manager import StateManager
from state_core.records import Head

ENDED = frozenset({EventKind.STEP_COMPLETED, EventKind.STEP_FAILED})
MOST_STEPS = 2000
"""Steps of one session that are kept, the newest."""
KEPT_STEPS = 100_000
"""Steps of all sessions that are kept in this process; about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class EndedStep:
    at: datetime
    agent: str
    duration: float | None
    error: str | None
    """Its first line; None where the step completed."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What is known of one session."""

    born: datetime | None
    seq: int = 0
    steps: tuple[EndedStep, ...] = ()
    """The newest first."""

    @property
    def weight(self) -> int:
        return 1 + len(self.steps)


class EndedSteps:
    """Of the sessions that were asked for last."""

    def __init__(self, most: int = KEPT_STEPS) -> None:
        self._most = most
        self._weight = 0
        self._read: OrderedDict[tuple[str, str], _Read] = OrderedDict()

    def knows(self, store: str, head: Head) -> bool:
        """Does `of` answer without asking the store?"""
        return self._known(store, head).seq >= head.last_seq

    async def of(self, store: str, manager: StateManager, head: Head) -> tuple[EndedStep, ...]:
        """The newest first. Raises StateError."""
        known = self._known(store, head)
        if known.seq < head.last_seq:
            known = await _read_on(manager, head, known)
        self._keep((store, head.session_id), known)
        return known.steps

    def _known(self, store: str, head: Head) -> _Read:
        """Nothing where the session was deleted meanwhile and another has its id."""
        known = self._read.get((store, head.session_id))
        return known if known and known.born == head.created_at else _Read(head.created_at)

    def _keep(self, key: tuple[str, str], read: _Read) -> None:
        before = self._read.pop(key, None)
        self._read[key] = read
        self._weight += read.weight - (before.weight if before else 0)
        while self._weight > self._most and len(self._read) > 1:
            self._weight -= self._read.popitem(last=False)[1].weight

    def forget(self) -> None:
        self._read.clear()
        self._weight = 0


async def _read_on(manager: StateManager, head: Head, known: _Read) -> _Read:
    events = await manager.storage.read_events(
        head.session_id,
        after=known.seq,
        before=head.last_seq + 1,
        kinds=ENDED,
        limit=MOST_STEPS,
        bodies=False,
        newest_first=True,
    )
    return _Read(known.born, head.last_seq, (*map(_step, events), *known.steps)[:MOST_STEPS])


def _step(event: Header) -> EndedStep:
    error = _first_line(event) if event.kind == EventKind.STEP_FAILED else None
    return EndedStep(event.at, event.agent or "no name", event.duration, error)


def _first_line(event: Header) -> str:
    lines = str(event.data.get("error", "")).strip().splitlines()
    return lines[0][:120] if lines else "no error given"
