"""What people see of the framework's objects: messages, questions, outputs, as plain and bounded values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage, convert_to_messages
from langgraph.types import Interrupt

from state_core.adapters.langgraph.values import Encoded, Listed, Mapped, Typed
from state_core.changes import json_size
from state_core.codec import plain
from state_core.exceptions import InvalidValue
from state_core.heads import short
from state_core.records import Document, Message

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "HumanMessageChunk": "user"}
SHOWN_BYTES = 2000
"""Largest value of a channel that is shown as it is; the checkpoint has all of it."""

Loads = Callable[[Typed], Any]


def message(value: BaseMessage, agent: str = "") -> Message:
    content = value.content if isinstance(value.content, str) else shown(value.content)
    calls = getattr(value, "tool_calls", None)
    called = getattr(value, "tool_call_id", None)
    metadata = {"tool_calls": shown(calls)} if calls else {}
    if called:
        metadata["tool_call_id"] = called
    role = ROLES.get(value.type, value.type)
    return Message(role, content, agent=agent or None, name=value.name, metadata=metadata)


def is_said(value: Any) -> bool:
    return isinstance(value, BaseMessage) and not isinstance(value, RemoveMessage)


def spoken(value: Any) -> BaseMessage | None:
    """The message that this is, or that `add_messages` makes of it: of a role and a text, or of a dict."""
    if not _is_short_form(value):
        return value if is_said(value) else None
    try:
        return convert_to_messages([value])[0]
    except (ValueError, TypeError, NotImplementedError):  # an unknown role: no message then
        return None


def _is_short_form(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("role"), str) and isinstance(value.get("content"), str)
    return (
        isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)
    )


def shown(value: Any) -> Any:
    """A value as JSON; its text where it is none, and only what it is where it is large."""
    if isinstance(value, BaseMessage):
        return f"{value.type} message"
    if isinstance(value, list) and value and all(isinstance(part, BaseMessage) for part in value):
        return f"{len(value)} message{'s' if len(value) > 1 else ''}"
    try:
        told = plain(value)
    except InvalidValue:
        told = short(repr(value), SHOWN_BYTES)
    return told if json_size(told) <= SHOWN_BYTES else f"{type(value).__name__} of {json_size(told):,} bytes"


def loaded(value: Encoded, loads: Loads) -> Any:
    if isinstance(value, Listed):
        return [loads(item) for item in value.items]
    if isinstance(value, Mapped):
        return {key: loads(item) for key, item in value.items.items()}
    return loads(value.item)


def size_of(value: Encoded) -> int:
    if isinstance(value, Listed):
        return sum(len(data) for _, data in value.items)
    if isinstance(value, Mapped):
        return sum(len(data) for _, data in value.items.values())
    return len(value.item[1])


def questions(values: Iterable[Any]) -> list[Document]:
    """Of interrupts: an id, and what is asked."""
    found: list[Document] = []
    for value in values:
        parts = value if isinstance(value, list | tuple) else [value]
        found += [_question(part) for part in parts if isinstance(part, Interrupt)]
    return found


def _question(interrupt: Interrupt) -> Document:
    value = interrupt.value
    asked = {"question_id": interrupt.id, "prompt": shown(value)}
    if isinstance(value, dict):
        if isinstance(value.get("question"), str):
            asked["prompt"] = short(value["question"], SHOWN_BYTES)
        choices = value.get("choices") or value.get("options")
        if isinstance(choices, list) and json_size(shown(choices)) <= SHOWN_BYTES:
            asked["choices"] = shown(choices)
    return asked


def same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    return [(m.role, m.content, m.name) for m in one] == [(m.role, m.content, m.name) for m in other]
