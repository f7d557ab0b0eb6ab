"""Editing a session's context before it is resumed: what stands there, and what the edit changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marsys_dashboard.contents import Text
from state_core.changes import differences
from state_core.exceptions import ConflictError
from state_core.manager import StateManager

LARGEST = 200_000
"""Characters of JSON that a dialog offers to edit."""
MOST_LINES = 50
"""Values of a change that a page lists; all of them can be downloaded."""
SHOWN = 2_000
"""Characters of a value that a page shows."""


@dataclass(frozen=True)
class Line:
    """One value of a change."""

    name: str
    kind: str
    """``added``, ``changed`` or ``removed``."""
    before: Text
    after: Text


@dataclass(frozen=True)
class Change:
    """What an edit does to the context, and what stood there."""

    values: dict[str, Any]
    removed: list[str]
    before: dict[str, Any]

    def __len__(self) -> int:
        return len(self.values) + len(self.removed)

    def over(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The context with this change."""
        changed = {**context, **self.values}
        return {name: value for name, value in changed.items() if name not in self.removed}

    @property
    def lines(self) -> list[Line]:
        names = [*self.values, *self.removed]
        return [self._line(name) for name in names[:MOST_LINES]]

    @property
    def more(self) -> int:
        """Values that are not among the lines."""
        return max(0, len(self) - MOST_LINES)

    @property
    def is_whole(self) -> bool:
        """Do the lines say all of it?"""
        return not self.more and not any(line.before.is_cut or line.after.is_cut for line in self.lines)

    def _line(self, name: str) -> Line:
        kind = "removed" if name in self.removed else "changed" if name in self.before else "added"
        return Line(name, kind, _shown(self.before, name), _shown(self.values, name))


def _shown(values: Mapping[str, Any], name: str) -> Text:
    text = json.dumps(values[name], ensure_ascii=False) if name in values else ""
    return Text(text[:SHOWN], len(text))


@dataclass(frozen=True, slots=True)
class Present:
    """The context as it stands, to be edited."""

    seq: int
    context: Mapping[str, Any]
    text: str = ""
    note: str = ""
    """Why it cannot be edited here, or ""."""

    @property
    def values(self) -> int:
        return len(self.context)

    @property
    def digest(self) -> str:
        return digest(self.text)


def digest(text: str) -> str:
    """By which a form that comes back tells whether this was edited. Browsers send lines ended by CR LF."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


async def present(manager: StateManager, session_id: str) -> Present:
    """Raises EncryptionKeyError, DamagedError."""
    state = await manager.get_session_state(session_id)
    text = as_json(state.context)
    if len(text) > LARGEST:
        note = f"It is too large to be edited here ({len(text):,} characters); add to it above instead."
        return Present(state.seq, state.context, note=note.replace(",", "\u202f"))
    return Present(state.seq, state.context, text)


def as_json(context: Mapping[str, Any]) -> str:
    """As it stands in the editor."""
    return json.dumps(context, ensure_ascii=False, indent=2)


async def edit_of(
    manager: StateManager, session_id: str, edited: Mapping[str, Any], seq: int | None
) -> tuple[dict[str, Any], list[str]]:
    """What the edited context sets, and the names that it leaves out. Raises ConflictError where the
    session moved on since event ``seq``, at which the person saw it."""
    state = await manager.get_session_state(session_id)
    if state.seq != seq:
        raise ConflictError(session_id, seq, state.seq)
    now = state.context
    changed = {k: v for k, v in edited.items() if k not in now or any(differences(now[k], v))}
    return changed, [name for name in now if name not in edited]
