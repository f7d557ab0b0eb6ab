"""One session as one file: its events in plain JSON, secrets masked, to be looked at elsewhere.

A bundle is gzipped JSON lines, one about the session, then one for each event. Read into a store, it is a
session again, with its timeline, its checkpoints and its states; nothing in it can be resumed by accident.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import IO, Any

import orjson

from state_core.changes import Path
from state_core.events import Change, Event, EventKind
from state_core.exceptions import CheckpointNotFound, InvalidValue
from state_core.log import Range
from state_core.manager import StateManager
from state_core.records import HELD, check_id, show_time, utc_now
from state_core.redaction import Redact, redacted
from state_core.storage.base import StorageBackend
from state_core.words import ACTIONS

FORMAT = 1
TOGETHER = 500
"""Events that are written into a store in one append."""
ENDS_HERE = "The bundle ends here; it was at work when the bundle was made."


async def write_bundle(
    manager: StateManager, session_id: str, file: IO[bytes], *, redact: Redact | None = redacted
) -> int:
    """Returns how many events it wrote. ``redact``: what masks secrets; None: nothing is masked.

    Raises SessionNotFound, EncryptionKeyError, DamagedError.
    """
    head = await manager.get_head(check_id(session_id))
    about = {
        "bundle": FORMAT,
        "session_id": session_id,
        "status": str(head.status),
        "events": head.event_count,
        "masked": redact is not None,
        "made_at": show_time(utc_now()),
    }
    written = 0
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as out:
        out.write(_line(about))
        async for event in manager.log.iterate(session_id, Range(head.first_seq - 1, head.last_seq)):
            out.write(_line(_document(event, redact)))
            written += 1
    return written


def _line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)


def _document(event: Event, redact: Redact | None) -> dict[str, Any]:
    document = {name: value for name, value in asdict(event).items() if name != "body_read"}
    if redact:
        document["data"] = redact(document["data"])
        document["changes"] = [_masked(change, redact) for change in document["changes"]]
    return document


def _masked(change: Change, redact: Redact) -> Change:
    """A value is masked by the name that it is set under, too."""
    what, path, *rest = change
    return [what, path, *(redact({_name(path): value})[_name(path)] for value in rest)]


def _name(path: Path) -> str:
    return str(path[-1]) if path else ""


async def read_bundle(manager: StateManager, file: IO[bytes], *, session_id: str | None = None) -> str:
    """Make the session anew in the manager's store, under its own id or another one; returns the id.

    It takes no commands there. Raises InvalidValue for what is no bundle, or where the session that it was
    made of is in this store, and SessionExists.
    """
    with gzip.GzipFile(fileobj=file, mode="rb") as lines:
        about, events = _opened(lines)
        name = check_id(session_id or about["session_id"])
        batch: list[Event] = []
        for event in events:
            await _refuse_twin(manager.storage, event)
            batch.append(event)
            if len(batch) == TOGETHER:
                await _write(manager, name, batch)
                batch = []
        if batch:
            await _write(manager, name, batch)
    if (await manager.get_head(name)).status in HELD:
        ended = Event(kind=EventKind.SESSION_INTERRUPTED, actor=manager.actor, data={"reason": ENDS_HERE})
        await _write(manager, name, [ended])
    return name


def _opened(lines: Any) -> tuple[dict[str, Any], Iterator[Event]]:
    try:
        about = orjson.loads(lines.readline())
        if about["bundle"] != FORMAT:
            raise InvalidValue(f"This bundle has format {about['bundle']}; this version reads {FORMAT}.")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InvalidValue(
            "This file is no bundle of a session; `manage.py export_session` makes one."
        ) from error
    return about, (_event(line) for line in lines)


def _event(line: bytes) -> Event:
    try:
        document = orjson.loads(line)
        return Event(**{**document, "at": datetime.fromisoformat(document["at"])})
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue("This bundle is damaged: an event in it cannot be read. Make it anew.") from error


async def _refuse_twin(storage: StorageBackend, event: Event) -> None:
    if event.kind != EventKind.CHECKPOINT_CREATED:
        return
    try:
        there = await storage.checkpoint(event.data["id"])
    except CheckpointNotFound:
        return
    raise InvalidValue(
        f"The session that this bundle was made of, {there.session_id!r}, is in this store. "
        "Read it into another store, `--store`."
    )


async def _write(manager: StateManager, session_id: str, events: list[Event]) -> None:
    await manager.log.append(session_id, events, head={"refuses": sorted(ACTIONS)})
