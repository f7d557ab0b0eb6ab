"""An event of the log as a line that people read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from state_core.events import Header
from state_core.words import counted

_DETAILS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("name", lambda value: f"“{value}”"),
    ("parents", lambda value: "after " + ", ".join(map(str, value))),
    ("parent", lambda value: f"from {value}"),
    ("attempt", lambda value: f"attempt {value}" if value != 1 else ""),
    ("count", lambda value: f"{value:+d} message{'' if abs(value) == 1 else 's'}" if value != 1 else ""),
    ("role", str),
    ("to", lambda value: f"back to event {value}"),
    ("for", lambda value: f"for {value}"),
    ("until", lambda value: f"until {value[:16].replace('T', ' ')} UTC"),
    ("ids", lambda value: counted(len(value), "checkpoint") if len(value) != 1 else ""),
    ("pinned", lambda value: "kept" if value else "no longer kept"),
    ("missed", lambda value: f"{value} of what happened here is not recorded"),
    ("origin", lambda value: f"from {value}"),
    ("compacted_at", lambda value: f"stands for itself and all before it, since {value[:10]}"),
    ("owner", lambda value: f"by {value}"),
    ("title", lambda value: f"“{value}”" if value else ""),
    ("reason", str),
    ("error", str),
)
"""What of an event's data is said, in this order."""


TONES = {
    "completed": "completed",
    "failed": "failed",
    "interrupted": "interrupted",
    "missed": "interrupted",
    "restored": "paused",
    "forked": "paused",
}
"""What happened → the status whose colour it has."""


def title(kind: str) -> str:
    """``step.completed`` → ``Step completed``."""
    return kind.replace(".", " ").capitalize()


def detail(event: Header) -> str:
    said = [_say(words, event.data[key]) for key, words in _DETAILS if key in event.data]
    return " · ".join(part for part in said if part)


def _say(words: Callable[[Any], str], value: Any) -> str:
    """Data is written by programs: what does not fit is shown as it is."""
    try:
        return words(value)
    except (TypeError, ValueError):
        return str(value)


def tone(event: Header) -> str:
    """The status whose colour the line has, or ``""``."""
    outcome = event.kind.partition(".")[2]
    return TONES.get(outcome, "")
