"""MARSYS: its runs in our stores, live in the dashboard.

    from state_core.adapters.marsys import MarsysStateManager, watched

    state_manager = MarsysStateManager("sqlite:///var/state.sqlite3")
    result = await watched(Orchestra, state_manager).run(
        task, topology, state_manager=state_manager, context={"session_id": "research"}
    )

Tried with 0.2.1, and with the unreleased 0.3 line as of commit 5c8681c. Needs the extra `marsys`.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "MarsysStorageBackend": "v02",
    "MarsysStateManager": "v02",
    "MarsysCheckpointManager": "v02",
    "MarsysLive": "live",
    "MarsysSink": "sink",
    "MarsysSnapshotStorage": "v03",
    "watched": "control",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Each is imported when it is asked for: the two lines of MARSYS have different parts."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
