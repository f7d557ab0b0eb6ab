"""MARSYS's 0.3 line: its storage of snapshots, five methods over bytes, on a store of ours.

    orchestra = Orchestra(registry, storage_backend=MarsysSnapshotStorage("sqlite:///var/state.sqlite3"))

What is written comes back to the byte, but it is kept by item: of a snapshot that follows another only the
difference is appended. Each write leaves a checkpoint, so that earlier snapshots stay (`history`, `read_at`).
Any number of writers may write at once; each write is all there or not at all. Needs no MARSYS to import.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from state_core.adapters.marsys.shelf import STATE, Shelf, session_id_of, until_unopposed
from state_core.adapters.recorder import Target
from state_core.changes import differences, set_value
from state_core.compose import checkpoint_event, make_event
from state_core.events import Change, EventKind
from state_core.exceptions import SessionNotFound
from state_core.fold import state_counts
from state_core.records import Checkpoint, CheckpointKind, Document, parse_time, utc_now

SNAPSHOTS = f"{STATE}_snapshots"
"""Where in a session's context its entries stand, by name."""


@dataclass(frozen=True)
class StorageEntry:
    """What MARSYS asks of an entry without reading it."""

    key: str
    size_bytes: int
    modified_at: datetime


class MarsysSnapshotStorage:
    """``target``: a StateManager of ours, a store, or its URL."""

    def __init__(self, target: Target) -> None:
        self._shelf = Shelf(target)

    async def read(self, key: str) -> bytes:
        """Raises FileNotFoundError where it is not there, and DamagedError for what is damaged."""
        entry = (await self._entries(key)).get(_parted(key)[1])
        if entry is None:
            raise FileNotFoundError(f"There is no entry {key!r} in this store.")
        return _written(entry)

    async def write(self, key: str, data: bytes) -> None:
        marsys_id, name = _parted(key)
        entry = {**_kept(data), "key": key, "size": len(data), "at": utc_now().isoformat()}
        async for attempt in until_unopposed():
            with attempt:
                document = await self._shelf.created(session_id_of(marsys_id), marsys_id)
                changes = _changes(document, name, entry)
                events = [
                    make_event(EventKind.CONTEXT_CHANGED, changes, document=document, actor=self._actor)
                ]
                counts = state_counts(document)
                place = checkpoint_event(key, counts, kind=CheckpointKind.AUTO, actor=self._actor)
                await self._shelf.append(document, [*events, place])

    async def delete(self, key: str) -> None:
        """The entry goes; its history stays."""
        marsys_id, name = _parted(key)
        async for attempt in until_unopposed():
            with attempt:
                document = await self._document(session_id_of(marsys_id))
                if name in document.get("context", {}).get(SNAPSHOTS, {}):
                    changes: list[Change] = [["remove", ["context", SNAPSHOTS, name]]]
                    kind = EventKind.CONTEXT_CHANGED
                    event = make_event(kind, changes, document=document, actor=self._actor)
                    await self._shelf.append(document, [event])

    async def list_with_metadata(self) -> list[StorageEntry]:
        return [_entry(entry) async for entry in self._all()]

    async def expire_older_than(self, age: timedelta) -> int:
        before = utc_now() - age
        old = [entry.key for entry in await self.list_with_metadata() if entry.modified_at < before]
        for key in old:
            await self.delete(key)
        return len(old)

    async def history(self, key: str) -> list[Checkpoint]:
        """A checkpoint for each time that it was written, the oldest first."""
        places = await self._shelf.manager.list_checkpoints(session_id_of(_parted(key)[0]))
        return [place for place in places if place.name == key]

    async def read_at(self, checkpoint_id: str) -> bytes:
        """What was written then. Raises CheckpointNotFound."""
        place = await self._shelf.manager.get_checkpoint(checkpoint_id)
        document = await self._shelf.manager.log.document(place.session_id, place.seq)
        return _written(document["context"][SNAPSHOTS][_parted(place.name)[1]])

    @property
    def _actor(self) -> str:
        return self._shelf.manager.actor

    async def _document(self, session_id: str) -> Document:
        try:
            return await self._shelf.manager.log.document(session_id)
        except SessionNotFound:
            return {}

    async def _entries(self, key: str) -> dict[str, Any]:
        document = await self._document(session_id_of(_parted(key)[0]))
        found: dict[str, Any] = document.get("context", {}).get(SNAPSHOTS, {})
        return found

    async def _all(self) -> AsyncIterator[Document]:
        async for session_id, _ in self._shelf.sessions():
            document = await self._document(session_id)
            for entry in document.get("context", {}).get(SNAPSHOTS, {}).values():
                yield entry


def _parted(key: str) -> tuple[str, str]:
    """``<session id>/snapshot.json``: the session, and the entry's name in it."""
    marsys_id, _, name = key.rpartition("/")
    return (marsys_id, name) if marsys_id else (key, key)


def _entry(entry: Document) -> StorageEntry:
    return StorageEntry(entry["key"], entry["size"], parse_time(entry["at"]) or utc_now())


_FORMS: dict[str, dict[str, Any]] = {"indented": {"indent": 2}, "compact": {"separators": (",", ":")}}
"""Ways of writing JSON that are told apart, so that the same bytes come back."""


def _kept(data: bytes) -> Document:
    """Its value and how that was written; the bytes themselves where that does not give them back."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    for form in _FORMS if value is not None else ():
        if _rendered(value, form) == data:
            return {"form": form, "value": value}
    return {"form": "bytes", "value": base64.b64encode(data).decode()}


def _rendered(value: Any, form: str) -> bytes:
    return json.dumps(value, ensure_ascii=False, **_FORMS[form]).encode("utf-8", "surrogatepass")


def _written(entry: Document) -> bytes:
    if entry["form"] == "bytes":
        return base64.b64decode(entry["value"])
    return _rendered(entry["value"], entry["form"])


def _changes(document: Document, name: str, entry: Document) -> list[Change]:
    old = document["context"].get(SNAPSHOTS)
    path = ["context", SNAPSHOTS]
    if old is None:
        return [set_value(path, {name: entry})]
    return list(_ordered_differences(old.get(name), entry, [*path, name]))


def _ordered_differences(old: Any, new: Any, path: list[Any]) -> Iterator[Change]:
    """As `changes.differences`, but the order of names is part of the value: it comes back as it was."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield from differences(old, new, path)
        return
    kept = [one for one in old if one in new]
    if [*kept, *(one for one in new if one not in old)] != list(new):
        yield set_value(path, new)
        return
    yield from (["remove", [*path, one]] for one in old if one not in new)
    for one, value in new.items():
        if one in old:
            yield from _ordered_differences(old[one], value, [*path, one])
        else:
            yield set_value([*path, one], value)
