"""A branch's memory follows the channel that holds its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from state_core.adapters.langgraph.telling import Loads, message, same, spoken
from state_core.adapters.langgraph.thread import Thread
from state_core.adapters.langgraph.values import Typed
from state_core.changes import append_items, set_value
from state_core.compose import make_event, message_document, messages_added
from state_core.events import Changes, Event, EventKind
from state_core.records import Message


class Shown(Protocol):
    """Where it is shown, and by whom."""

    thread: Thread
    actor: str

    @property
    def loads(self) -> Loads: ...

    @property
    def branch_id(self) -> str: ...


def memory_event(
    showing: Shown, known: Sequence[int], numbers: Sequence[int], items: Sequence[Typed]
) -> Event | None:
    """What makes the memory, which shows ``known``, show ``numbers``; None where it does so already."""
    start = _alike(showing, known, numbers, items)
    end = 0
    while end < min(len(known), len(numbers)) - start and known[-1 - end] == numbers[-1 - end]:
        end += 1
    old = len(known) - start - end
    new = [_message(showing.loads(item)) for item in items[start : len(items) - end]]
    if not old and not new:
        return None
    path = ["branches", showing.branch_id, "memory"]
    if not old and not end:
        return messages_added(path, new, {}, actor=showing.actor, branch_id=showing.branch_id)
    behind = [] if len(new) == old or not new else items[len(items) - end :] if end else []
    changes = _changes(path, start, old, new, [_message(showing.loads(item)) for item in behind])
    return make_event(
        EventKind.MEMORY_REWRITTEN,
        changes,
        actor=showing.actor,
        branch_id=showing.branch_id,
        data={"count": len(numbers) - len(known)},
    )


def _alike(showing: Shown, known: Sequence[int], numbers: Sequence[int], items: Sequence[Typed]) -> int:
    """How many at the beginning say the same; a message that only got an id since does."""
    place = 0
    while place < min(len(known), len(numbers)):
        if known[place] != numbers[place]:
            there = _message(showing.loads(showing.thread.items[known[place]]))
            if not same([there], [_message(showing.loads(items[place]))]):
                break
        place += 1
    return place


def _message(value: Any) -> Message:
    told = spoken(value)
    return message(told) if told else Message("", str(value))


def _changes(path: list[Any], start: int, old: int, new: list[Message], behind: list[Message]) -> Changes:
    """``old`` messages from ``start`` on become ``new``. Where the numbers of both differ, what is behind
    them is told again."""
    if len(new) == old:
        return [set_value([*path, start + n], message_document(told)) for n, told in enumerate(new)]
    if not new:
        return [["remove", [*path, start]] for _ in range(old)]
    told = [message_document(one) for one in [*new, *behind]]
    return [["truncate", path, start], append_items(path, told)]
