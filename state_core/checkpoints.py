"""Checkpoints that are made by themselves, and which of them are kept."""

from __future__ import annotations

import time
from collections.abc import Iterable

from state_core.config import CheckpointConfig
from state_core.events import EventKind, Header
from state_core.records import Checkpoint, CheckpointKind

MADE_BY_THEMSELVES = frozenset({CheckpointKind.AUTO, CheckpointKind.COMPLETION, CheckpointKind.ERROR})


class AutoCheckpoints:
    """Says when a checkpoint is due and which are too many. Without a configuration: never, none."""

    def __init__(self, config: CheckpointConfig | None) -> None:
        self._config = config if config and config.auto_checkpoint else None
        self._last = time.monotonic()

    @property
    def on_completion(self) -> bool:
        return self._config is not None and self._config.checkpoint_on_completion

    @property
    def on_error(self) -> bool:
        return self._config is not None and self._config.checkpoint_on_error

    @property
    def bounded(self) -> bool:
        return self._config is not None and self._config.max_checkpoints is not None

    def is_due(self) -> bool:
        interval = self._config.checkpoint_interval if self._config else None
        return interval is not None and time.monotonic() - self._last >= interval

    def made(self) -> None:
        self._last = time.monotonic()

    def surplus(self, checkpoints: Iterable[Checkpoint]) -> list[str]:
        """Ids beyond ``max_checkpoints``, the oldest first, of those made by themselves."""
        if self._config is None or self._config.max_checkpoints is None:
            return []
        own = [c for c in checkpoints if c.kind in MADE_BY_THEMSELVES and not c.pinned]
        return surplus(own, self._config.max_checkpoints)


def made_by(event: Header) -> str | None:
    """The id of the checkpoint that this event makes, or that a compacted log begins with."""
    data = event.data.get("checkpoint") if event.kind == EventKind.SESSION_COMPACTED else event.data
    return data.get("id") if data else None


def surplus(checkpoints: Iterable[Checkpoint], keep_latest: int) -> list[str]:
    oldest_first = sorted(checkpoints, key=lambda checkpoint: checkpoint.seq)
    return [checkpoint.id for checkpoint in oldest_first[: max(0, len(oldest_first) - keep_latest)]]
