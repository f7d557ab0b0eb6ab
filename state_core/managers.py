"""A StateManager on a store that Django's STATE_STORES names, with the key that stands there."""

from __future__ import annotations

from typing import Any

from state_core.exceptions import EncryptionKeyError
from state_core.manager import StateManager
from state_core.storage import stores

UNREADABLE = (
    "Its content is encrypted with a key that is not given here. Set ENCRYPTION_KEY of its store in "
    "STATE_STORES (for the default store: the environment variable STATE_ENCRYPTION_KEY) and start again."
)


def manager(alias: str = "default", **options: Any) -> StateManager:
    """``options``: those of StateManager. Raises ConfigurationError for an alias that cannot work."""
    return StateManager(stores[alias], encryption_key=stores.encryption_key(alias), **options)


async def why_unreadable(manager: StateManager, session_id: str) -> str:
    """Why nothing can be done to a session that asks for its content; "" where it can be read.

    Its first event tells: whoever asks before an act appends nothing that nobody could read.
    """
    records = await manager.storage.read_events(session_id, limit=1)
    try:
        for record in records:
            manager.log.codec.open(session_id, record)
    except EncryptionKeyError:
        return UNREADABLE
    return ""
