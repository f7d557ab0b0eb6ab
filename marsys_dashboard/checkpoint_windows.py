"""Which of a session's checkpoints a page shows: there may be one for each turn of weeks of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from state_core.records import Checkpoint

WINDOW = 50
SIDE = 12
"""Beside the charts."""
OFFERED = 200
"""In one menu; beyond these, the list is where a checkpoint is chosen."""
MARKS = 200
"""On the bar over the log."""


@dataclass(frozen=True, slots=True)
class Window:
    """Checkpoints that stand next to each other, the newest first."""

    checkpoints: Sequence[Checkpoint]
    is_later: bool
    """Are there newer ones than these?"""
    before: int | None
    """The event that the next older ones are before; None where there are none."""


def newest_first(found: Sequence[Checkpoint]) -> list[Checkpoint]:
    return sorted(found, key=lambda each: each.seq, reverse=True)


def window(
    found: Sequence[Checkpoint], *, before: int | None = None, around: str = "", limit: int = WINDOW
) -> Window:
    """The newest, those before an event, or those around a checkpoint."""
    ordered = newest_first(found)
    begin = _beginning(ordered, before, around, limit)
    end = min(begin + limit, len(ordered))
    while 0 < end < len(ordered) and ordered[end].seq == ordered[end - 1].seq:
        end += 1  # a window is continued by event
    shown = ordered[begin:end]
    return Window(shown, begin > 0, shown[-1].seq if end < len(ordered) else None)


def _beginning(ordered: Sequence[Checkpoint], before: int | None, around: str, limit: int) -> int:
    if before is not None:
        return next((i for i, each in enumerate(ordered) if each.seq < before), len(ordered))
    at = next((i for i, each in enumerate(ordered) if each.id == around), 0)
    return max(0, at - limit // 2)


def offered(found: Sequence[Checkpoint], chosen: str = "") -> list[Checkpoint]:
    """The newest, and the one that is chosen."""
    ordered = newest_first(found)
    return ordered[:OFFERED] + [each for each in ordered[OFFERED:] if each.id == chosen]


def marks(found: Sequence[Checkpoint]) -> list[int]:
    """Events at which there is one; of many, some that are spread evenly."""
    seqs = sorted({each.seq for each in found})
    every = -(-len(seqs) // MARKS) or 1
    return seqs[::every]


def neighbours(found: Sequence[Checkpoint], seq: int) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The nearest before an event and after it."""
    before = max((each for each in found if each.seq < seq), key=lambda each: each.seq, default=None)
    after = min((each for each in found if each.seq > seq), key=lambda each: each.seq, default=None)
    return before, after
