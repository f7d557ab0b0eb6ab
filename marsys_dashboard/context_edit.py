"""Editing a session's context before it is resumed: what stands there, and what the edit changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from state_core.changes import differences
from state_core.exceptions import ConflictError
from state_core.manager import StateManager

LARGEST = 200_000
"""Characters of JSON that a dialog offers to edit."""


@dataclass(frozen=True, slots=True)
class Present:
    """The context as it stands, to be edited."""

    seq: int
    text: str = ""
    values: int = 0
    note: str = ""
    """Why it cannot be edited here, or ""."""

    @property
    def digest(self) -> str:
        return digest(self.text)


def digest(text: str) -> str:
    """By which a form that comes back tells whether this was edited. Browsers send lines ended by CR LF."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


async def present(manager: StateManager, session_id: str) -> Present:
    """Raises EncryptionKeyError, DamagedError."""
    state = await manager.get_session_state(session_id)
    text = json.dumps(state.context, ensure_ascii=False, indent=2)
    if len(text) > LARGEST:
        note = f"It is too large to be edited here ({len(text):,} characters); add to it above instead."
        return Present(state.seq, values=len(state.context), note=note.replace(",", "\u202f"))
    return Present(state.seq, text, len(state.context))


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
