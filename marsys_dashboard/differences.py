"""What differs between two states, as the page that compares them shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from marsys_dashboard.contents import NOTHING, Text, as_text
from state_core.diff import VALUE_BYTES, BranchDiff, Difference, Listed, MemoryDiff, StateDiff, Value

OPEN = 20
"""Branches that are shown unfolded; of more, only their headings."""
WORDS = 400
"""Words of a text beyond which what is new in it is not marked."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text; marked where the other side has not got it."""

    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """A value as it is shown."""

    parts: tuple[Part, ...]
    bytes: int = 0
    is_cut: bool = False
    heading: str = ""
    """Of a message: who says it."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    what: str
    old: Side | None
    new: Side | None


COUNTED = (
    ("Branches", "branches"),
    ("Steps", "steps"),
    ("Steps failed", "steps_failed"),
    ("Messages", "messages"),
    ("Open questions", "questions"),
)


def shown(found: StateDiff) -> dict[str, Any]:
    """What the template needs of a diff."""
    more = found.new.counts["state_bytes"] - found.old.counts["state_bytes"]
    return {
        "diff": found,
        "bytes_more": more,
        "bytes_less": -more,
        "counts": [
            (label, *_pair(found, name), _pair(found, name)[1] - _pair(found, name)[0])
            for label, name in COUNTED
        ]
        + _tokens(found),
        "seconds": (found.old.step_seconds, found.new.step_seconds),
        "seconds_more": found.new.step_seconds - found.old.step_seconds,
        "seconds_less": found.old.step_seconds - found.new.step_seconds,
        "parts": [
            (label, list(rows(listed)), listed.left_out)
            for label, listed in (
                ("Context", found.context),
                ("Results", found.results),
                ("Metadata", found.metadata),
                ("Questions", found.questions),
            )
            if listed
        ],
        "branches": [(branch, _branch(branch)) for branch in found.branches],
        "branches_left_out": found.branches_total - len(found.branches),
        "are_open": len(found.branches) <= OPEN,
        "memories": [(memory, list(messages(memory))) for memory in found.memories],
    }


def _tokens(found: StateDiff) -> list[tuple[str, int, int, int]]:
    """Where no step says how many it took there is nothing to be compared."""
    old, new = found.old.tokens, found.new.tokens
    return [("Tokens", old, new, new - old)] if old or new else []


def _pair(found: StateDiff, name: str) -> tuple[int, int]:
    return found.old.counts[name], found.new.counts[name]


def _branch(branch: BranchDiff) -> dict[str, Any]:
    return {
        "steps": [(step, list(rows(step.values))) for step in branch.steps],
        "steps_left_out": branch.steps_total - len(branch.steps),
        "messages": list(messages(branch.memory)),
        "values": list(rows(branch.values)),
    }


def rows(listed: Listed) -> Iterator[Row]:
    for item in listed.items:
        old, new = _marked(_text(item.old), _text(item.new))
        yield Row(_name(item), item.what, _side(item.old, old), _side(item.new, new))


def messages(memory: MemoryDiff) -> Iterator[Row]:
    what = {"added": "added", "removed": "removed", "changed": "rewritten"}
    for item in memory.messages.items:
        old, new = _marked(_said(item.old), _said(item.new))
        number = f"#{int(item.path[0]) + 1}"
        yield Row(
            number,
            what[item.what],
            _side(item.old, old, _speaker(item.old)),
            _side(item.new, new, _speaker(item.new)),
        )


def _name(item: Difference) -> str:
    """``budget.tokens``, ``findings[3].title``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in item.path]
    return "".join(parts).removeprefix(".")


def _text(value: Value | None) -> Text:
    if value is None:
        return NOTHING
    shown_value = value.value if value.value is not None else "null"
    return as_text(shown_value, 2 * VALUE_BYTES)


def _said(value: Value | None) -> Text:
    """The content of a message; of one that is too long, the beginning of its JSON."""
    if value is None or value.is_cut or not isinstance(value.value, dict):
        return _text(value)
    return as_text(value.value.get("content"), 2 * VALUE_BYTES)


def _speaker(value: Value | None) -> str:
    message = value.value if value and isinstance(value.value, dict) else {}
    said = [str(message[name]) for name in ("agent", "name", "role") if message.get(name)]
    return " · ".join(dict.fromkeys(said))[:120]


def _side(value: Value | None, parts: tuple[Part, ...], heading: str = "") -> Side | None:
    return Side(parts, value.bytes, value.is_cut, heading) if value else None


# What is new within a text


def _marked(old: Text, new: Text) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    before, after = _words(old.text), _words(new.text)
    if not before or not after or max(len(before), len(after)) > WORDS:
        return (Part(old.text),), (Part(new.text),)
    runs = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return (
        tuple(Part("".join(before[i:j]), tag != "equal") for tag, i, j, _, _ in runs if j > i),
        tuple(Part("".join(after[i:j]), tag != "equal") for tag, _, _, i, j in runs if j > i),
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)
