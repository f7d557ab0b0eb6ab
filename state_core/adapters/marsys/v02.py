"""MARSYS 0.2.1: its storage, its state manager and its checkpoint manager, on a store of ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from state_core.adapters.marsys.shelf import Shelf, key_of, session_id_of
from state_core.adapters.recorder import Target
from state_core.control import is_held
from state_core.exceptions import MissingExtra
from state_core.records import Checkpoint, CheckpointKind, SessionStatus

try:
    from marsys.agents.exceptions import CheckpointError, SessionNotFoundError
    from marsys.coordination.state import CheckpointManager, StateManager, StorageBackend
    from marsys.coordination.state.checkpoint import Checkpoint as MarsysCheckpoint
except ImportError as error:
    raise MissingExtra("marsys 0.2.1 (for Python 3.12 or later)", "marsys") from error

from state_core.adapters.marsys.states import deserialised, serialised


class MarsysStorageBackend(StorageBackend):
    """Five methods over keys and JSON values. ``target``: a StateManager, a store of ours, or its URL."""

    def __init__(self, target: Target) -> None:
        self.shelf = Shelf(target)

    async def save(self, key: str, data: Mapping[str, Any]) -> None:
        """Raises InvalidValue for what JSON has no word for."""
        await self.shelf.save(key, data)

    async def load(self, key: str) -> dict[str, Any] | None:
        """None where it is not there; what is damaged raises DamagedError."""
        return await self.shelf.load(key)

    async def delete(self, key: str) -> None:
        await self.shelf.delete(key)

    async def list_keys(self, prefix: str = "") -> list[str]:
        return await self.shelf.keys(prefix)

    async def exists(self, key: str) -> bool:
        return await self.shelf.exists(key)


class MarsysStateManager(StateManager):
    """A drop-in for ``Orchestra.run(state_manager=…)``.

    Saves what changed, memory and conversation patterns too. Reads what others wrote meanwhile. A pause and
    a resume are events of the session. ``target``: a StateManager of ours, a store, or its URL.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(MarsysStorageBackend(target))
        self.shelf: Shelf = self.storage.shelf

    async def save_session(self, session_id: str, state: Mapping[str, Any]) -> None:
        await self.shelf.save_state(session_id, serialised(session_id, state, time.time()))

    async def load_session(self, session_id: str) -> dict[str, Any] | None:
        data = await self.shelf.load_state(session_id)
        return None if data is None else deserialised(data)

    async def create_checkpoint(self, session_id: str, checkpoint_name: str, *, auto: bool = False) -> str:
        if await self.shelf.load_state(session_id) is None:
            raise SessionNotFoundError(f"Session {session_id} not found", session_id=session_id)
        return await self.shelf.create_checkpoint(session_id, checkpoint_name, auto=auto)

    async def restore_checkpoint(self, checkpoint_id: str) -> dict[str, Any]:
        """The state there. The session stays as it is, as with MARSYS's own manager."""
        checkpoint = await self.shelf.checkpoint(checkpoint_id)
        if checkpoint is None:
            raise CheckpointError(
                f"Checkpoint {checkpoint_id} not found", checkpoint_id=checkpoint_id, operation="restore"
            )
        return await self.shelf.state_at(checkpoint)

    async def pause_execution(self, session_id: str, execution_state: Mapping[str, Any]) -> None:
        noted = {"paused": True, "pause_time": datetime.now(UTC).isoformat()}
        await self.save_session(session_id, _noting(execution_state, noted))

    async def resume_execution(self, session_id: str) -> dict[str, Any]:
        state = await self.load_session(session_id)
        if state is None:
            raise SessionNotFoundError(f"Session {session_id} not found", session_id=session_id)
        resumed = _noting(state, {"paused": False, "resume_time": datetime.now(UTC).isoformat()})
        await self.save_session(session_id, resumed)
        return resumed

    async def list_sessions(self, include_paused: bool = True) -> list[dict[str, Any]]:
        found = [one async for one in self._listed()]
        return [one for one in found if include_paused or not one["paused"]]

    async def _listed(self) -> Any:
        async for session_id, marsys_id in self.shelf.sessions():
            data = await self.shelf.load_state(marsys_id)
            if data is not None:
                metadata = data.get("metadata") or {}
                head = await self.shelf.manager.get_head(session_id)
                yield {
                    "session_id": marsys_id,
                    "timestamp": data.get("timestamp"),
                    "paused": bool(metadata.get("paused")) or head.status == SessionStatus.PAUSED,
                    "branches_count": len(data.get("branches") or ()),
                    "completed_count": len(data.get("completed_branches") or ()),
                    "metadata": metadata,
                }

    async def delete_session(self, session_id: str) -> None:
        await self.shelf.delete_session(session_id)


def _noting(state: Mapping[str, Any], noted: dict[str, Any]) -> dict[str, Any]:
    return {**state, "metadata": {**(state.get("metadata") or {}), **noted}}


class MarsysCheckpointManager(CheckpointManager):
    """Its checkpoints are checkpoints of ours: each costs one small row, whatever the state's size."""

    state_manager: MarsysStateManager

    @property
    def _shelf(self) -> Shelf:
        return self.state_manager.shelf

    async def create_checkpoint(
        self, session_id: str, name: str, state: Mapping[str, Any] | None = None, auto: bool = False
    ) -> Any:
        """With ``state`` that is saved first."""
        if state is not None:
            await self.state_manager.save_session(session_id, state)
        checkpoint_id = await self.state_manager.create_checkpoint(session_id, name, auto=auto)
        self._last_checkpoint_times[session_id] = time.time()
        await self._enforce_retention_policy(session_id)
        place = await self._shelf.checkpoint(checkpoint_id)
        assert place is not None, "made just now"
        return await self._of(place, session_id)

    async def list_checkpoints(self, session_id: str) -> list[Any]:
        """Of this session and of no other whose id begins alike; the newest first."""
        places = await self._shelf.manager.list_checkpoints(session_id_of(session_id))
        return [await self._of(place, session_id) for place in reversed(places)]

    async def _of(self, place: Checkpoint, marsys_id: str) -> Any:
        state = await self._shelf.state_at(place)
        return MarsysCheckpoint(
            checkpoint_id=key_of(place, marsys_id),
            session_id=marsys_id,
            name=place.name,
            timestamp=place.created_at.timestamp(),
            branch_count=len(state.get("branches") or ()),
            completed_count=len(state.get("completed_branches") or ()),
            metadata={
                **state["metadata"],
                "auto": place.kind == CheckpointKind.AUTO,
                "active_branches": len(state.get("active_branches") or ()),
                "waiting_branches": len(state.get("waiting_branches") or ()),
            },
        )

    async def restore_checkpoint(self, checkpoint_id: str) -> dict[str, Any]:
        """Go back there. What is left gets a checkpoint of its own, so that this can be undone."""
        state = await self.state_manager.restore_checkpoint(checkpoint_id)
        place = await self._shelf.checkpoint(checkpoint_id)
        assert place is not None, "found just now"
        manager = self._shelf.manager
        if is_held(await manager.get_head(place.session_id)):
            await self.state_manager.save_session(state["session_id"], state)
        else:
            await manager.restore_checkpoint(place.id)
        return state

    async def rollback_to_checkpoint(self, checkpoint_id: str) -> dict[str, Any]:
        """As `restore_checkpoint`; the state says that it was rolled back, and from where."""
        state = await self.restore_checkpoint(checkpoint_id)
        noted = {
            "rolled_back": True,
            "rollback_time": datetime.now(UTC).isoformat(),
            "rollback_from": checkpoint_id,
        }
        state = _noting(state, noted)
        await self.state_manager.save_session(state["session_id"], state)
        return state

    async def cleanup_old_checkpoints(self, older_than_hours: int = 72) -> int:
        """Delete older ones of every session, pinned ones excepted; returns how many."""
        before = datetime.now(UTC) - timedelta(hours=older_than_hours)
        deleted = 0
        async for session_id, _ in self._shelf.sessions():
            places = await self._shelf.manager.list_checkpoints(session_id)
            old = [place for place in places if place.created_at < before and not place.pinned]
            deleted += await self._delete(session_id, old)
        return deleted

    async def _enforce_retention_policy(self, session_id: str) -> None:
        """Automatic ones go that are too old, or too many together with the others."""
        before = datetime.now(UTC) - timedelta(hours=self.retention_hours)
        places = await self._shelf.manager.list_checkpoints(session_id_of(session_id))
        automatic = [p for p in places if p.kind == CheckpointKind.AUTO and not p.pinned]
        old = [place for place in automatic if place.created_at < before]
        surplus = len(places) - len(old) - self.max_checkpoints_per_session
        young = [place for place in automatic if place.created_at >= before]
        await self._delete(session_id_of(session_id), [*old, *young[: max(0, surplus)]])

    async def _delete(self, session_id: str, places: list[Checkpoint]) -> int:
        if places:
            await self._shelf.drop_checkpoints(session_id, [place.id for place in places])
        return len(places)

    async def create_critical_checkpoint(self, session_id: str, reason: str, state: Mapping[str, Any]) -> Any:
        """Pinned: nothing deletes it by itself."""
        checkpoint = await self.create_checkpoint(session_id, f"critical_{reason}", state)
        place = await self._shelf.checkpoint(checkpoint.checkpoint_id)
        assert place is not None, "made just now"
        await self._shelf.manager.pin_checkpoint(place.id)
        checkpoint.metadata.update(critical=True, reason=reason)
        return checkpoint
