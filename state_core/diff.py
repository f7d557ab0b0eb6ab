"""What differs between two states: of one session at two places, or of a session and its fork.

Computed from two documents. Parts that are equal are passed over whole; what differs is listed up to a
stated number and counted beyond it, and long values are cut, so that a diff stays readable and small
whatever the states weigh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any

import orjson

from state_core.fold import state_counts, steps_of
from state_core.records import Document, parse_time

LISTED = 200
"""Differences that one part lists, and branches; more are only counted."""
LISTED_IN_ALL = 500
"""Differences of all parts together: what comes after them is only counted, too."""
VALUE_BYTES = 2_000
"""Values whose JSON is longer are given as the beginning of it."""
ALIGNED = 1_000
"""Messages between the first and the last difference of two memories that are aligned; where there are more,
they are compared one by one."""


@dataclass(frozen=True)
class Place:
    """One side of a comparison."""

    session_id: str
    seq: int
    status: str
    at: datetime | None
    """When its last event happened."""
    checkpoint_id: str = ""
    name: str = ""
    """The checkpoint's, where it is one."""
    counts: dict[str, int] = field(default_factory=dict)
    """branches, steps, messages, state_bytes … of the state there."""
    step_seconds: float = 0.0
    """How long its steps took, together."""
    tokens: int = 0
    """What models took and gave in its steps, as far as these say so; see `tokens_of`."""


@dataclass(frozen=True)
class Value:
    """A value of one side."""

    value: Any
    """As it is; where ``is_cut``, the first VALUE_BYTES of its JSON as text."""
    bytes: int
    """Of its JSON, whole."""
    is_cut: bool = False


@dataclass(frozen=True)
class Difference:
    """Something that is not the same on both sides. ``old`` or ``new`` is None where it is not there."""

    path: tuple[str | int, ...]
    old: Value | None
    new: Value | None

    @property
    def what(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"


@dataclass(frozen=True)
class Listed:
    """Differences in their order, and how many there are in all."""

    items: tuple[Difference, ...] = ()
    total: int = 0

    def __bool__(self) -> bool:
        return self.total > 0

    @property
    def left_out(self) -> int:
        return self.total - len(self.items)


@dataclass(frozen=True)
class MemoryDiff:
    """Messages of one memory. A path is the message's number in it: the old one where it was removed."""

    owner: str
    """Name of the branch or agent."""
    messages: Listed
    added: int = 0
    removed: int = 0
    rewritten: int = 0


@dataclass(frozen=True)
class StepDiff:
    step_id: str
    agent: str
    old_status: str
    """Empty where the step is not there."""
    new_status: str
    values: Listed
    """input, output, error, metadata and attempt, of a step that is on both sides."""


@dataclass(frozen=True)
class BranchDiff:
    branch_id: str
    name: str
    old_status: str
    """Empty where the branch is not there."""
    new_status: str
    steps: tuple[StepDiff, ...]
    steps_total: int
    """How many differ; ``steps`` lists the first of them."""
    memory: MemoryDiff
    values: Listed
    """Of its metadata."""


@dataclass(frozen=True)
class StateDiff:
    """What turns the state at ``old`` into the one at ``new``."""

    old: Place
    new: Place
    context: Listed
    results: Listed
    metadata: Listed
    branches: tuple[BranchDiff, ...]
    """The first of those that differ, in the order of their opening."""
    branches_total: int
    """How many differ."""
    memories: tuple[MemoryDiff, ...]
    """Agents' memories that differ."""
    questions: Listed

    def __bool__(self) -> bool:
        """Is anything different?"""
        parts = (self.context, self.results, self.metadata, self.branches, self.memories, self.questions)
        return self.old.status != self.new.status or any(parts)

    def to_document(self) -> Document:
        """As JSON values; moments are ISO 8601."""
        document: Document = orjson.loads(orjson.dumps(asdict(self)))
        return document


def diff_documents(old: Document, new: Document, places: tuple[Place, Place] | None = None) -> StateDiff:
    """Compare two folded states. ``places``: what is known of the two besides."""
    here = places or (place_of(old), place_of(new))
    room = _Room()
    branches = _branches(old["branches"], new["branches"])
    return StateDiff(
        old=here[0],
        new=here[1],
        context=_differing(old["context"], new["context"], room),
        results=_differing(old["intermediate_results"], new["intermediate_results"], room),
        metadata=_differing(old["metadata"], new["metadata"], room),
        questions=_differing(old["questions"], new["questions"], room),
        memories=tuple(_memories(old["agent_memories"], new["agent_memories"], room)),
        branches=tuple(_branch(*pair, room) for pair in branches[:LISTED]),
        branches_total=len(branches),
    )


def place_of(document: Document, checkpoint_id: str = "", name: str = "") -> Place:
    return Place(
        document["session_id"],
        document["seq"],
        document["status"],
        parse_time(document["updated_at"]),
        checkpoint_id,
        name,
        state_counts(document),
        sum(step["duration"] or 0.0 for step in steps_of(document)),
        sum(map(tokens_of, steps_of(document))),
    )


TOKENS = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))
"""As the conventions of OpenTelemetry and the interfaces of models name them."""


def tokens_of(step: Document) -> int:
    """Of its metadata's ``usage``, or its output's; 0 where neither has one."""
    for place in (step.get("metadata"), step.get("output")):
        usage = place.get("usage") if isinstance(place, dict) else None
        if not isinstance(usage, dict):
            continue
        for names in TOKENS:
            found = [usage[name] for name in names if type(usage.get(name)) is int]
            if found:
                return sum(found)
    return 0


# Values


_MISSING = object()


class _Room:
    """For how many differences there still is some."""

    def __init__(self) -> None:
        self._left = LISTED_IN_ALL

    def takes(self, already: int) -> bool:
        """Another one into a part that lists so many already?"""
        if already >= LISTED or not self._left:
            return False
        self._left -= 1
        return True


def _differing(old: Any, new: Any, room: _Room) -> Listed:
    return _listed(_walk(old, new, ()), room)


def _listed(found: Iterable[tuple[tuple[Any, ...], Any, Any]], room: _Room) -> Listed:
    items: list[Difference] = []
    total = 0
    for path, old, new in found:
        total += 1
        if room.takes(len(items)):
            items.append(Difference(path, _shown(old), _shown(new)))
    return Listed(tuple(items), total)


def _shown(value: Any) -> Value | None:
    if value is _MISSING:
        return None
    text = orjson.dumps(value)
    if len(text) <= VALUE_BYTES:
        return Value(value, len(text))
    return Value(text[:VALUE_BYTES].decode("utf-8", "ignore"), len(text), is_cut=True)


def _walk(old: Any, new: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Path, old and new of the innermost values that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _walk(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _walk(_item(old, index), _item(new, index), (*path, index))
    elif old is not new and (type(old) is not type(new) or old != new):
        yield path, old, new


def _item(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else _MISSING


# Branches and their steps


def _branches(old: Mapping[str, Document], new: Mapping[str, Document]) -> list[tuple[Document, Document]]:
    """Those that differ, before and after."""
    pairs = ((old.get(branch_id), new.get(branch_id)) for branch_id in dict.fromkeys([*old, *new]))
    return [
        (before or _NO_BRANCH, after or _NO_BRANCH) for before, after in pairs if _own(before) != _own(after)
    ]


def _own(branch: Document | None) -> Document | None:
    """That a child was opened is told of the child."""
    return branch and {name: value for name, value in branch.items() if name != "child_ids"}


_NO_BRANCH: Document = {"branch_id": "", "name": "", "status": "", "steps": {}, "memory": [], "metadata": {}}


def _branch(old: Document, new: Document, room: _Room) -> BranchDiff:
    name = new["name"] or old["name"]
    before, after = old["steps"], new["steps"]
    differing = [
        (i, before.get(i), after.get(i))
        for i in dict.fromkeys([*before, *after])
        if before.get(i) != after.get(i)
    ]
    listed: list[StepDiff] = []
    for step in differing:
        if room.takes(len(listed)):
            listed.append(_step(*step, room))
    return BranchDiff(
        new["branch_id"] or old["branch_id"],
        name,
        old["status"],
        new["status"],
        tuple(listed),
        len(differing),
        memory_diff(name, old["memory"], new["memory"], room),
        _differing(old["metadata"], new["metadata"], room),
    )


_OF_A_STEP = ("attempt", "input", "output", "error", "metadata")


def _step(step_id: str, old: Document | None, new: Document | None, room: _Room) -> StepDiff:
    known = new or old or {}
    values = Listed()
    if old and new:
        values = _differing({n: old[n] for n in _OF_A_STEP}, {n: new[n] for n in _OF_A_STEP}, room)
    return StepDiff(
        step_id, known["agent"] or "", old["status"] if old else "", new["status"] if new else "", values
    )


# Memories


def _memories(
    old: Mapping[str, list[Any]], new: Mapping[str, list[Any]], room: _Room
) -> Iterator[MemoryDiff]:
    for agent in dict.fromkeys([*old, *new]):
        before, after = old.get(agent, []), new.get(agent, [])
        if before != after:
            yield memory_diff(agent, before, after, room)


def memory_diff(owner: str, old: list[Any], new: list[Any], room: _Room | None = None) -> MemoryDiff:
    """A memory mostly grows at its end: what it begins and ends with on both sides is not looked at."""
    if old == new:
        return MemoryDiff(owner, Listed())
    first = _same_from_start(old, new)
    last = _same_from_start(old[first:][::-1], new[first:][::-1])
    changes = list(_aligned(old[first : len(old) - last], new[first : len(new) - last], first))
    return MemoryDiff(
        owner,
        _listed(changes, room or _Room()),
        added=sum(before is _MISSING for _, before, _ in changes),
        removed=sum(after is _MISSING for _, _, after in changes),
        rewritten=sum(_MISSING not in (before, after) for _, before, after in changes),
    )


def _same_from_start(old: list[Any], new: list[Any]) -> int:
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        if not _same(before, after):
            return index
    return min(len(old), len(new))


def _same(old: Any, new: Any) -> bool:
    """A message that was written into a memory anew is the same one, though its moment is another."""
    return bool(old == new) or _comparable(old) == _comparable(new)


def _comparable(message: Any) -> bytes:
    said = {**message, "created_at": None} if isinstance(message, dict) else message
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def _aligned(old: list[Any], new: list[Any], first: int) -> Iterator[tuple[tuple[int], Any, Any]]:
    for start, stop, other_start, other_stop in _differing_runs(old, new):
        paired = min(stop - start, other_stop - other_start)
        for number in range(paired):
            before, after = old[start + number], new[other_start + number]
            if not _same(before, after):
                yield (first + other_start + number,), before, after
        for index in range(start + paired, stop):
            yield (first + index,), old[index], _MISSING
        for index in range(other_start + paired, other_stop):
            yield (first + index,), _MISSING, new[index]


def _differing_runs(old: list[Any], new: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    if not old or not new or max(len(old), len(new)) > ALIGNED:
        yield 0, len(old), 0, len(new)
        return
    matcher = SequenceMatcher(None, [*map(_comparable, old)], [*map(_comparable, new)], autojunk=False)
    for tag, *run in matcher.get_opcodes():
        if tag != "equal":
            yield run[0], run[1], run[2], run[3]
