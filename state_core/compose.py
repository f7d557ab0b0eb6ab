"""Composing events: measured against a state, and those that always go together."""

from __future__ import annotations

import secrets
import traceback
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from state_core.changes import append_items, growth, set_value
from state_core.codec import plain
from state_core.events import Changes, Event, EventKind
from state_core.exceptions import InvalidValue
from state_core.fold import content_counts, running_steps, state_counts
from state_core.heads import head_change, short
from state_core.records import CheckpointKind, Document, Message, StepStatus, show_time, utc_now

TRACE_CHARACTERS = 20_000


def make_event(
    kind: str,
    changes: Changes | None = None,
    *,
    document: Document | None = None,
    data: Mapping[str, Any] | None = None,
    **header: Any,
) -> Event:
    """An event whose ``size`` is what ``changes`` add to ``document``."""
    found = changes or []
    size = growth(document or {}, found) if found else 0
    return Event(kind=kind, changes=found, size=size, data=_without_blanks(data or {}), **header)


def _without_blanks(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value not in ("", None, [])}


def error_line(error: BaseException | str) -> str:
    if isinstance(error, str):
        return _storable(error)
    text = _storable(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trace(error: BaseException | str) -> str:
    """The traceback as text, its end kept when it is long."""
    if isinstance(error, str):
        return _storable(error)
    text = _storable("".join(traceback.format_exception(error)))
    return text if len(text) <= TRACE_CHARACTERS else "…" + text[-TRACE_CHARACTERS:]


def _storable(text: str) -> str:
    """With the bytes written out that names of files bring along where they are not UTF-8: were an error
    refused, what failed would look as if it still ran."""
    return text.encode("utf-8", "backslashreplace").decode()


def message_document(message: Message) -> Document:
    given = message.to_document()
    given.setdefault("created_at", show_time(utc_now()))
    document: Document = plain(given, f"message of {message.role}")
    return document


def messages_added(path: list[Any], messages: Sequence[Message], document: Document, **header: Any) -> Event:
    items = [message_document(message) for message in messages]
    data = {"count": len(items), "role": short(messages[-1].role, 32)}
    return make_event(
        EventKind.MESSAGE_ADDED, [append_items(path, items)], document=document, data=data, **header
    )


def creation(
    *,
    actor: str,
    title: str = "",
    workflow: str = "",
    tags: Sequence[str] = (),
    refuses: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Event:
    changes = content_changes(context, metadata)
    data = {
        "title": short(title),
        "workflow": short(workflow, 128),
        "tags": list(tags),
        "refuses": list(refuses),
    }
    return make_event(EventKind.SESSION_CREATED, changes, actor=actor, data=data)


def content_changes(
    context: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
) -> Changes:
    """Changes that merge these values into the session's. Raises InvalidValue."""
    parts = (("context", context), ("metadata", metadata))
    return [
        set_value([part, key], value)
        for part, values in parts
        for key, value in _entries(values, part).items()
    ]


def _entries(values: Mapping[str, Any] | None, part: str) -> dict[str, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise InvalidValue(
            f"{part} is a {type(values).__name__}; give names and values, such as {{'name': 1}}."
        )
    entries: dict[str, Any] = plain(dict(values or {}), part)
    return entries


def failed_steps(
    document: Document, error: str, actor: str, among: Collection[str] | None = None
) -> list[Event]:
    """``step.failed`` for each step that an agent is at work on, in these branches or in all."""
    return [
        make_event(
            EventKind.STEP_FAILED,
            actor=actor,
            branch_id=branch_id,
            step_id=step_id,
            agent=document["branches"][branch_id]["steps"][step_id]["agent"] or "",
            status=str(StepStatus.FAILED),
            data={"error": short(error)},
        )
        for branch_id, step_id in running_steps(document)
        if among is None or branch_id in among
    ]


def interruption(document: Document, actor: str, owner: str = "", why: str = "") -> list[Event]:
    """What says that nobody works on the session any more, though it is not done."""
    reason = why or "the lease of the process that ran it ran out"
    return [
        *failed_steps(document, f"interrupted: {reason}", actor),
        make_event(EventKind.SESSION_INTERRUPTED, actor=actor, data={"owner": owner, "reason": reason}),
    ]


def checkpoint_event(
    name: str,
    counts: Mapping[str, int],
    *,
    kind: CheckpointKind = CheckpointKind.MANUAL,
    actor: str = "",
    reason: str = "",
) -> Event:
    """``counts``: those of the session's head or of its state, ``state_bytes`` among them."""
    data = {
        "id": new_checkpoint_id(),
        "name": short(name, 200) or "checkpoint",
        "kind": str(kind),
        "reason": short(reason),
        "size": counts["state_bytes"],
        "counts": {n: counts[n] for n in ("branches", "steps", "messages")},
    }
    return make_event(EventKind.CHECKPOINT_CREATED, actor=actor, data=data)


def counts_after(document: Document, events: Sequence[Event]) -> Counter[str]:
    """What a checkpoint behind these events counts."""
    counts = Counter(content_counts(document))
    counts.update(head_change(events).add if events else {})
    return counts


def new_checkpoint_id(now: datetime | None = None) -> str:
    """Sorts by time to the microsecond, so that indexes grow at their end and stay dense, and is unlike any
    other: two in the same moment differ."""
    return f"cp-{now or utc_now():%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"


def restoration(
    present: Mapping[str, int], target: Document, *, checkpoint_id: str, actor: str, reason: str
) -> list[Event]:
    """A checkpoint of the place that is left, so that the restore can be undone, and the restore.

    ``present``: counts of the head. ``target``: the state to go back to.
    """
    before = checkpoint_event(
        "before restore", present, kind=CheckpointKind.PRE_RESTORE, actor=actor, reason=reason
    )
    data = {
        "to": target["seq"],
        "checkpoint": checkpoint_id,
        "reason": short(reason),
        "counts": state_counts(target),
    }
    return [before, make_event(EventKind.SESSION_RESTORED, actor=actor, data=data)]
