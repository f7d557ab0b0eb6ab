"""What rows and inspectors show of content: read on demand, bounded, and never trusted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from marsys_dashboard.outlines import Outline, Place, StepKey
from state_core.events import Change, Event
from state_core.exceptions import DamagedError, EncryptionKeyError
from state_core.manager import StateManager
from state_core.records import Document
from state_core.words import size

READ_BYTES = 256 * 1024
"""Content of an event larger than this is not read for a row."""
FAR = 100
"""Events between two whose content is read, beyond which they are asked for one after the other."""
PREVIEW = 240
"""Characters of a step's content in its row."""
MESSAGE_PREVIEW = 2_000
"""Characters of a message in its row."""
SHORT_JSON = 60
"""Characters of JSON that need no lines of their own."""
SHOWN = 20_000
"""Characters of a value in the inspector before "show all"."""
SHOWN_AT_MOST = 1_000_000
"""Characters of a value that a page ever shows; what is longer can be downloaded."""


@dataclass(frozen=True, slots=True)
class Text:
    """Content as text to be shown."""

    text: str
    length: int
    """Characters of the whole."""
    is_json: bool = False
    note: str = ""
    """Why there is no text."""

    @property
    def is_cut(self) -> bool:
        return len(self.text) < self.length

    @property
    def shown(self) -> int:
        return len(self.text)

    def __bool__(self) -> bool:
        return bool(self.text or self.note)


NOTHING = Text("", 0)


def as_text(value: Any, limit: int, *, flat: bool = False) -> Text:
    """Text as it is, anything else as JSON. ``flat``: on one line."""
    if value is None:
        return NOTHING
    is_json = not isinstance(value, str)
    whole = _as_json(value, flat) if is_json else value
    if flat:
        whole = " ".join(whole[: 4 * limit].split()) + whole[4 * limit :]
    return Text(_cut(whole, limit), len(whole), is_json)


def _as_json(value: Any, flat: bool) -> str:
    """On one line where that is asked for, or short."""
    line = json.dumps(value, ensure_ascii=False)
    return line if flat or len(line) <= SHORT_JSON else json.dumps(value, ensure_ascii=False, indent=2)


def _cut(text: str, limit: int) -> str:
    """Characters that no screen should act on are shown as what they are."""
    return text[:limit].replace("\x00", "\N{SYMBOL FOR NULL}")


def runs(places: Iterable[Place]) -> Iterator[tuple[int, int]]:
    """First and last seq of ranges that hold these places and none that is too large to be read, nor many
    others."""
    first = last = 0
    for place in sorted(places, key=lambda place: place.seq):
        if first and place.seq - last > FAR:
            yield first, last
            first = 0
        if abs(place.size) <= READ_BYTES:
            first, last = first or place.seq, place.seq
        elif first:
            yield first, last
            first = 0
    if first:
        yield first, last


@dataclass(frozen=True, slots=True)
class Unread:
    """Why the content of an event is not shown."""

    why: str


Contents = dict[int, Event | Unread]
"""By seq."""


async def read_contents(
    manager: StateManager, session_id: str, places: Iterable[Place], branch_id: str = ""
) -> Contents:
    """Events with their bodies, but for those that are too large for a row or cannot be read."""
    wanted = {place.seq: place for place in places}
    kinds = {place.kind for place in wanted.values()}
    found: Contents = {
        place.seq: Unread(f"too large for a row: {size(abs(place.size))}")
        for place in wanted.values()
        if abs(place.size) > READ_BYTES
    }
    for first, last in runs(wanted.values()):
        records = await manager.storage.read_events(
            session_id, after=first - 1, before=last + 1, kinds=kinds, branch_id=branch_id or None
        )
        for record in records:
            if record.seq in wanted and record.seq not in found:
                found[record.seq] = open_or_say_why(manager, session_id, record)
    return found


def open_or_say_why(manager: StateManager, session_id: str, record: Any) -> Event | Unread:
    try:
        return manager.log.codec.open(session_id, record)
    except EncryptionKeyError:
        return Unread("encrypted with a key that this dashboard does not have")
    except DamagedError as error:
        return Unread(str(error))


async def read_one(manager: StateManager, session_id: str, seq: int) -> Event | Unread | None:
    records = await manager.storage.read_events(session_id, after=seq - 1, before=seq + 1, limit=1)
    return open_or_say_why(manager, session_id, records[0]) if records else None


def values_set(changes: Iterable[Change], path: list[Any]) -> dict[str, Any]:
    """What these changes set right below ``path``: ``{"input": …, "output": …}`` of a step."""
    found: dict[str, Any] = {}
    for operation, where, *rest in changes:
        if operation == "set" and where[:-1] == path:
            found[str(where[-1])] = rest[0]
        elif operation == "set" and where == path and isinstance(rest[0], dict):
            found.update(rest[0])
    return found


def step_values(contents: Contents, places: Iterable[Place], key: StepKey) -> tuple[Document, str]:
    """A step's input, output, error and metadata as far as its events were read, and why not all were."""
    values: Document = {}
    why = ""
    for place in places:
        event = contents.get(place.seq)
        if isinstance(event, Unread):
            why = event.why
        elif event:
            values.update(values_set(event.changes, ["branches", key[0], "steps", key[1]]))
    return values, why


async def whole_step(manager: StateManager, session_id: str, outline: Outline, key: StepKey) -> Document:
    """A step with its content: from its own events, or from the whole state where those do not tell."""
    shape = outline.step(key) or {}
    places = outline.steps.get(key, [])
    if not places or outline.holds_whole_states:
        document = await manager.log.document(session_id, outline.seq)
        step: Document = document["branches"][key[0]]["steps"][key[1]]
        return step
    values: Document = {}
    for place in places:
        event = await read_one(manager, session_id, place.seq)
        if isinstance(event, Event):
            values.update(values_set(event.changes, ["branches", key[0], "steps", key[1]]))
        elif event:
            values["unread"] = event.why
    return {**shape, **values}


def messages_in(event: Event) -> list[Document]:
    """The messages that an event adds, in order."""
    return [
        item
        for operation, _path, *rest in event.changes
        if operation == "append"
        for item in rest[0]
        if isinstance(item, dict)
    ]


def question_values(event: Event) -> Document:
    return values_set(event.changes, ["questions", event.data["question"]])
