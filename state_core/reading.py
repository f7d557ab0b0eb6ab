"""Reading: what can be asked of sessions without changing them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from state_core.cache import DocumentCache
from state_core.codec import Codec
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.housekeeping import Housekeeping
from state_core.log import EventLog
from state_core.records import Checkpoint, Head, SessionMetrics, SessionState, StorageMetrics, check_id
from state_core.retention import Retention
from state_core.storage.base import ACTIVE, HeadQuery, StorageBackend
from state_core.sync import SyncFace


class Reading:
    """The lowest layer of a StateManager: its store, its log, its options, and every question."""

    def __init__(
        self,
        storage: StorageBackend,
        auto_save_interval: float | None = None,
        compression: bool | None = None,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        config: StateManagerConfig | None = None,
        *,
        actor: str = "",
    ) -> None:
        self.storage = storage
        self.config = _merged(config, auto_save_interval, compression, encryption_key)
        self.checkpoint_config = checkpoint_config
        self.owner = _owner_name()
        self.actor = actor or self.owner
        self.log = EventLog(storage, _codec(self.config), _cache(self.config), _batch_size(self.config))
        self.retention = Retention(self.log, self.actor)
        self._housekeeping = Housekeeping(self.retention, self.config)
        self._finished_here: dict[str, datetime | None] = {}
        """Session id → when it was completed by this manager, which may hand it on for a further part."""
        self._looks_for_silent_at = 0.0
        """By the monotonic clock: it needs no look at each round."""

    def __repr__(self) -> str:
        return f"<StateManager on {self.storage!r}>"

    @property
    def sync(self) -> Any:
        """The same methods, to be called without ``await``."""
        return SyncFace(self)

    async def get_head(self, session_id: str) -> Head:
        """What lists show of a session; reads no history. Raises SessionNotFound."""
        return await self.storage.head(session_id)

    async def list_sessions(self, query: HeadQuery | None = None, **conditions: Any) -> list[Head]:
        """Heads, the last changed first; ``conditions`` as in `HeadQuery`."""
        return await self.storage.heads(query or HeadQuery(**conditions))

    async def get_session_state(self, session_id: str, seq: int | None = None) -> SessionState:
        """The present state, or that after event ``seq``. Raises SessionNotFound, DamagedError."""
        document = await self.log.document(session_id, seq)
        checkpoints = await self.storage.checkpoints(session_id)
        return SessionState.from_document(document, [c for c in checkpoints if c.seq <= document["seq"]])

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Oldest first. A session that is not there has none."""
        return await self.storage.checkpoints(session_id)

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Raises CheckpointNotFound."""
        return await self.storage.checkpoint(check_id(checkpoint_id, "checkpoint id"))

    async def get_session_metrics(self, session_id: str) -> SessionMetrics:
        """From the head alone. Raises SessionNotFound."""
        head = await self.storage.head(check_id(session_id))
        return SessionMetrics(
            session_id=session_id,
            status=head.status,
            duration_seconds=head.duration_seconds,
            steps_total=head.counts["steps"],
            steps_completed=head.counts["steps_completed"],
            steps_failed=head.counts["steps_failed"],
            branches=head.counts["branches"],
            messages=head.counts["messages"],
            storage_bytes=head.counts["stored_bytes"],
            state_bytes=head.counts["state_bytes"],
            checkpoint_count=head.counts["checkpoints"],
            events=head.last_seq,
        )

    async def get_storage_metrics(self) -> StorageMetrics:
        """From heads alone."""
        usage = await self.storage.usage()
        return StorageMetrics(
            total_sessions=usage.sessions,
            active_sessions=sum(n for status, n in usage.by_status.items() if status in ACTIVE),
            total_bytes=usage.bytes,
            total_events=usage.events,
            total_checkpoints=usage.checkpoints,
            by_status=dict(usage.by_status),
        )


def _merged(
    config: StateManagerConfig | None,
    auto_save_interval: float | None,
    compression: bool | None,
    encryption_key: str | bytes | Sequence[str | bytes] | None,
) -> StateManagerConfig:
    given: dict[str, Any] = {
        "auto_save_interval": auto_save_interval,
        "compression_enabled": compression,
        "encryption_key": encryption_key,
    }
    return replace(config or StateManagerConfig(), **{k: v for k, v in given.items() if v is not None})


def _codec(config: StateManagerConfig) -> Codec:
    return Codec(
        compression_level=config.compression_level if config.compression_enabled else None,
        keys=config.keys,
        max_bytes=int(config.max_value_mb * 1_000_000),
    )


def _cache(config: StateManagerConfig) -> DocumentCache | None:
    return DocumentCache(int(config.cache_size_mb * 1_000_000)) if config.cache_enabled else None


def _batch_size(config: StateManagerConfig) -> int:
    return config.batch_save_size if config.batch_save_enabled else 1


def _owner_name() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}"
