"""Outlines: what event headers say of a session, folded once and moved forward as the log grows.

An outline has no content. It knows where in the log the content of each step and message lies, so that
a page reads just the bodies that it shows.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from state_core.events import Event, EventKind, Header
from state_core.exceptions import DamagedError, EncryptionKeyError
from state_core.facts import fact
from state_core.fold import apply_event, empty_document, pass_over
from state_core.log import Range
from state_core.manager import StateManager
from state_core.records import ENDED, Document, Head, StepStatus, parse_time

STEP_KINDS = frozenset(
    {EventKind.STEP_STARTED, EventKind.STEP_RETRIED, EventKind.STEP_COMPLETED, EventKind.STEP_FAILED}
)
MESSAGE_KINDS = frozenset({EventKind.MESSAGE_ADDED, EventKind.MEMORY_REWRITTEN})
QUESTION_KINDS = frozenset({EventKind.INPUT_REQUESTED, EventKind.INPUT_ANSWERED})
CARRYING_KINDS = frozenset({EventKind.SESSION_FORKED, EventKind.SESSION_COMPACTED})
"""Kinds of a log's first event whose bodies hold all that was before."""
WHOLE_STATE_KINDS = CARRYING_KINDS | {EventKind.SESSION_SAVED}
"""Kinds whose bodies may hold steps and messages that no event of their own tells of."""

KEPT = 64
"""Outlines kept in this process for the next page view."""
KEPT_EVENTS = 300_000
"""Events that all of them together were folded from; about half a kilobyte each."""
BYTES_OF_AN_EVENT = 500

AT_ONCE = 1000
"""Events that are folded before others have their turn."""

StepKey = tuple[str, str]


@fact()
class Place:
    """Where in the log some content lies, and about how many bytes it is."""

    seq: int
    kind: str
    branch_id: str
    size: int
    agent: str = ""


@dataclass(slots=True)
class Outline:
    """A session at ``document["seq"]``, as headers tell it."""

    document: Document
    steps: dict[StepKey, list[Place]] = field(default_factory=dict)
    """Every step's events, the steps in the order in which they began."""
    messages: list[Place] = field(default_factory=list)
    questions: dict[str, Place] = field(default_factory=dict)
    holds_whole_states: bool = False
    """Some content may lie in events that are not in ``steps`` and ``messages``."""
    own: set[str] | None = None
    """Branches that no other outline shares; None: all."""
    first_seq: int = 1
    """Where the log began when it was folded."""
    words: dict[str, str] = field(default_factory=dict)
    """Kinds, branches and agents, each once: stores give every event strings of its own."""
    lacks_beginning: bool = False
    """What the log's first event carries could not be read, for want of its key."""

    @property
    def seq(self) -> int:
        return int(self.document["seq"])

    @property
    def weight(self) -> int:
        """About how many events it takes the memory of."""
        carried = self.document["state_bytes"] // BYTES_OF_AN_EVENT if self.holds_whole_states else 0
        return self.seq + int(carried)

    def apply(self, event: Header) -> None:
        if self.own is not None:
            self._take(event, self.own)
        try:
            apply_event(self.document, event)
        except DamagedError:
            if not self.lacks_beginning:
                raise
            pass_over(self.document, event)  # it is about a branch or a step that is not known here
            return
        index = _INDEXED.get(event.kind)
        if index:
            index(self, event)

    def _place(self, event: Header) -> Place:
        once = self.words.setdefault
        kind, branch_id, agent = event.kind, event.branch_id, event.agent
        return Place(event.seq, once(kind, kind), once(branch_id, branch_id), event.size, once(agent, agent))

    def _index_step(self, event: Header) -> None:
        key = (event.branch_id, event.step_id)
        self.steps[key] = [*self.steps.get(key, ()), self._place(event)]

    def _index_message(self, event: Header) -> None:
        self.messages.append(self._place(event))

    def _index_question(self, event: Header) -> None:
        self.questions[event.data["question"]] = self._place(event)

    def _index_carried(self, event: Header) -> None:
        """A fork, or a log that was compacted, carries steps and memories that no event of it tells of."""
        self.holds_whole_states = True
        for branch_id, branch in self.document["branches"].items():
            for step_id in branch["steps"]:
                self.steps.setdefault((branch_id, step_id), [])
            if branch["memory"]:
                self.messages.append(Place(event.seq, event.kind, branch_id, 0))

    def began(self, key: StepKey) -> int:
        """The event with which a step began; 0 when it was carried here."""
        places = self.steps.get(key)
        return places[0].seq if places else 0

    def copy(self) -> Outline:
        """One that may be moved on while this one is read. Both share what neither has changed since, so that
        it costs little however long the session is."""
        self.own = set()
        document = {
            **self.document,
            "branches": dict(self.document["branches"]),
            "questions": dict(self.document["questions"]),
        }
        return replace(
            self,
            document=document,
            steps=dict(self.steps),
            messages=list(self.messages),
            questions=dict(self.questions),
            own=set(),
        )

    def _take(self, event: Header, own: set[str]) -> None:
        """Make our own what the event is about to change."""
        changes_content = isinstance(event, Event) and event.changes
        if changes_content or event.kind in WHOLE_STATE_KINDS:
            self.document, self.own = copy_document(self.document), None
            return
        branches = self.document["branches"]
        touched = (event.branch_id, *event.data.get("parents", ())) if event.branch_id else tuple(branches)
        for branch_id in touched:
            if branch_id in branches and branch_id not in own:
                branches[branch_id] = _copy_shell(branches[branch_id])
            own.add(branch_id)
        if event.kind in STEP_KINDS:
            _replace_by_copy(branches.get(event.branch_id, {}).get("steps", {}), event.step_id)
        elif event.kind in QUESTION_KINDS:
            _replace_by_copy(self.document["questions"], event.data.get("question", ""))

    def step(self, key: StepKey) -> Document | None:
        branch = self.document["branches"].get(key[0])
        found: Document | None = branch["steps"].get(key[1]) if branch else None
        return found

    def is_under_way(self, key: StepKey) -> bool:
        step = self.step(key)
        if step is None or step["status"] != StepStatus.RUNNING:
            return False
        return self.document["branches"][key[0]]["status"] not in ENDED

    def newest_steps(
        self, *, branch_id: str = "", active: bool = False, before: int | None = None, limit: int
    ) -> list[StepKey]:
        """Oldest first; those that began before event ``before``. ``active``: only those under way."""
        found: list[StepKey] = []
        for key in reversed(self.steps):
            if (branch_id and key[0] != branch_id) or (before and self.began(key) >= before):
                continue
            if active and not self.is_under_way(key):
                continue
            found.append(key)
            if len(found) == limit:
                break
        return found[::-1]

    def steps_around(
        self, chosen: StepKey, *, branch_id: str = "", limit: int
    ) -> tuple[list[StepKey], bool, bool]:
        """Oldest first, the chosen one in their middle; are there earlier ones, are there later ones?"""
        listed = [key for key in self.steps if branch_id in ("", key[0])]
        shown = _around(listed.index(chosen), len(listed), limit)
        return listed[shown], shown.start > 0, shown.stop < len(listed)

    def has_message(self, seq: int) -> bool:
        place = bisect_left(self.messages, seq, key=lambda place: place.seq)
        return place < len(self.messages) and self.messages[place].seq == seq

    def message_agents(self) -> dict[str, int]:
        """Who wrote or got messages, and in how many events."""
        return dict(Counter(place.agent for place in self.messages if place.agent))

    def messages_around(
        self, seq: int, *, branch_id: str = "", agent: str = "", limit: int
    ) -> tuple[list[Place], bool, bool]:
        """Oldest first, event ``seq`` in their middle; are there earlier ones, are there later ones?"""
        listed = [place for place in self.messages if is_of_conversation(place, branch_id, agent)]
        shown = _around(bisect_left(listed, seq, key=lambda place: place.seq), len(listed), limit)
        return listed[shown], shown.start > 0, shown.stop < len(listed)

    def newest_messages(
        self, *, branch_id: str = "", agent: str = "", before: int | None = None, limit: int
    ) -> list[Place]:
        """Oldest first; those of events before ``before``."""
        found: list[Place] = []
        for place in reversed(self.messages):
            if not is_of_conversation(place, branch_id, agent) or (before and place.seq >= before):
                continue
            found.append(place)
            if len(found) == limit:
                break
        return found[::-1]


_INDEXED: dict[str, Callable[[Outline, Header], None]] = {
    **dict.fromkeys(map(str, STEP_KINDS), Outline._index_step),
    **dict.fromkeys(map(str, MESSAGE_KINDS), Outline._index_message),
    **dict.fromkeys(map(str, WHOLE_STATE_KINDS), Outline._index_carried),
    str(EventKind.INPUT_REQUESTED): Outline._index_question,
}
"""What an outline keeps of where an event lies."""


def _around(middle: int, count: int, limit: int) -> slice:
    """``limit`` of ``count``, those around ``middle``."""
    first = max(0, min(middle - limit // 2, count - limit))
    return slice(first, first + limit)


def is_of_conversation(place: Place, branch_id: str, agent: str) -> bool:
    """What a fork carries may be anybody's: its messages say themselves whose they are."""
    is_of_agent = agent in ("", place.agent) or place.kind in CARRYING_KINDS
    return is_of_agent and branch_id in ("", place.branch_id)


def copy_document(document: Document) -> Document:
    """A copy of an outline's document that shares only values which the fold replaces, never changes."""
    return {
        **document,
        "branches": {key: _copy_branch(branch) for key, branch in document["branches"].items()},
        "questions": {key: dict(question) for key, question in document["questions"].items()},
    }


def _copy_branch(branch: Document) -> Document:
    return {
        **_copy_shell(branch),
        "steps": {key: dict(step) for key, step in branch["steps"].items()},
    }


def _copy_shell(branch: Document) -> Document:
    """All but the steps themselves."""
    return {
        **branch,
        "child_ids": list(branch["child_ids"]),
        "joined_ids": list(branch["joined_ids"]),
        "steps": dict(branch["steps"]),
    }


def _replace_by_copy(values: Document, key: str) -> None:
    if key in values:
        values[key] = dict(values[key])


async def fold_outline(manager: StateManager, session_id: str, seq: int | None = None) -> Outline:
    """From the log's beginning to ``seq``, or to its end. Raises SessionNotFound, DamagedError."""
    head = await manager.storage.head(session_id)
    last = head.last_seq if seq is None else seq
    outline = Outline(empty_document(session_id), first_seq=head.first_seq)
    ranges = [Range(0, last)]
    if head.counts["restores"]:
        ranges = await manager.log.line(session_id, last)
    if head.origin or head.first_seq > 1:
        for event in await _first(manager, session_id):
            outline.lacks_beginning = not event.body_read
            outline.apply(event)
            ranges[0] = Range(event.seq, ranges[0].upto)
    for span in ranges:
        async for page in manager.log.headers(session_id, span):
            for first in range(0, len(page), AT_ONCE):
                fold_forward(outline, page[first : first + AT_ONCE])
                await asyncio.sleep(0)
    return outline


async def _first(manager: StateManager, session_id: str) -> Sequence[Event]:
    """With what it carries, or, where that is encrypted and the key is not here, without it."""
    try:
        return await manager.log.read(session_id, limit=1)
    except EncryptionKeyError:
        return await manager.log.read(session_id, limit=1, bodies=False)


def fold_forward(outline: Outline, events: Iterable[Header]) -> None:
    for event in events:
        outline.apply(event)


def goes_back(events: Iterable[Header]) -> bool:
    """Is there an event that the outline cannot simply be moved over?"""
    return any(event.kind in {EventKind.SESSION_RESTORED, EventKind.SESSION_COMPACTED} for event in events)


def is_compacted_since(outline: Outline, head: Head) -> bool:
    """Then what it says of where content lies does not hold any more."""
    return outline.first_seq != head.first_seq


def is_of(outline: Outline, head: Head) -> bool:
    """False when the session was deleted meanwhile and another has its id."""
    created = parse_time(outline.document["created_at"])
    return outline.seq <= head.last_seq and created == head.created_at


async def missing_headers(manager: StateManager, session_id: str, after: int, upto: int) -> Sequence[Header]:
    return [event async for page in manager.log.headers(session_id, Range(after, upto)) for event in page]


class OutlineCache:
    """The last outlines that pages asked for, so that the next page folds only what is new.

    An outline in here is never changed: who moves one on copies it first.
    """

    def __init__(self, size: int = KEPT, events: int = KEPT_EVENTS) -> None:
        self._size = size
        self._events = events
        self._kept: OrderedDict[tuple[str, str], Outline] = OrderedDict()
        self._asked: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def lacks(self, store: str, head: Head) -> int:
        """How many events would have to be folded."""
        kept = self._kept.get((store, head.session_id))
        is_usable = kept is not None and is_of(kept, head) and not is_compacted_since(kept, head)
        return head.last_seq - kept.seq if kept and is_usable else head.last_seq - head.first_seq + 1

    async def outline(
        self, store: str, manager: StateManager, session_id: str, base: Outline | None = None
    ) -> Outline:
        """At the session's present seq. ``base``: one that is known elsewhere. Who asks while another's is
        being folded waits for that. Raises SessionNotFound."""
        key = (store, session_id)
        async with self._asked.setdefault(key, asyncio.Lock()):
            return await self._outline(key, manager, base)

    async def _outline(self, key: tuple[str, str], manager: StateManager, base: Outline | None) -> Outline:
        session_id = key[1]
        kept = base or self._kept.get(key)
        head = await manager.storage.head(session_id)
        if kept is None or not is_of(kept, head) or is_compacted_since(kept, head):
            kept = await fold_outline(manager, session_id)
        elif kept.seq < head.last_seq:
            kept = await self._moved_on(manager, session_id, kept, head.last_seq)
        self._keep(key, kept)
        return kept

    @staticmethod
    async def _moved_on(manager: StateManager, session_id: str, kept: Outline, last: int) -> Outline:
        events = await missing_headers(manager, session_id, kept.seq, last)
        if goes_back(events):
            return await fold_outline(manager, session_id)
        outline = kept.copy()
        fold_forward(outline, events)
        return outline

    def _keep(self, key: tuple[str, str], outline: Outline) -> None:
        self._kept[key] = outline
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self._is_too_much():
            self._kept.popitem(last=False)

    def _is_too_much(self) -> bool:
        weight = sum(outline.weight for outline in self._kept.values())
        return len(self._kept) > self._size or weight > self._events

    def __len__(self) -> int:
        return len(self._kept)
