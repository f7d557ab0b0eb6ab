"""What a StateManager can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from state_core.exceptions import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are made by themselves. Without one, none are."""

    auto_checkpoint: bool = True
    """False switches all of the below off."""
    checkpoint_interval: float | None = 300.0
    """Seconds between automatic checkpoints of a running session; None: none by time."""
    max_checkpoints: int | None = 10
    """Keep this many of those made by themselves, the newest; named and pinned ones stay."""
    checkpoint_on_completion: bool = False
    """When a branch completes."""
    checkpoint_on_error: bool = False
    """When a step fails for good."""

    def __post_init__(self) -> None:
        _positive(self, "checkpoint_interval", "max_checkpoints")


@dataclass(frozen=True, kw_only=True)
class StateManagerConfig:
    """Every option of a StateManager but its store and its checkpoints."""

    # Auto-save: what a program changes in `session.context`, `.metadata` and `.results` directly.
    # Steps, messages and everything else are durable when their call returns, whatever stands here.
    auto_save_enabled: bool = True
    auto_save_interval: float = 30.0
    """Seconds."""
    auto_save_on_step: bool = True
    """Save such changes with each step, too."""

    compression_enabled: bool = True
    compression_level: int = 6
    """1 (fast) to 9 (small), as zstandard's. Bodies that would not shrink stay as they are."""
    encryption_enabled: bool = False
    """Refuse to work without a key."""
    encryption_key: str | bytes | Sequence[str | bytes] | None = field(default=None, repr=False)
    """See `new_encryption_key`. Several: the first encrypts, all decrypt."""

    # Retention: only sessions that have ended are ever touched. The three ages and the quota are what
    # `StateManager.cleanup` goes by; nothing is deleted by itself unless auto_cleanup_enabled says so.
    auto_cleanup_enabled: bool = False
    """Clean up by itself, about once an hour, in processes that open sessions or work on them."""
    max_session_age_days: float | None = 30.0
    """Delete sessions that ended and whose last event is older. None: however old they are, they stay."""
    max_checkpoint_age_days: float | None = 7.0
    """Delete older checkpoints, of sessions that ended, if they were made by themselves; named and pinned
    ones and those made before a restore stay. None: all stay."""
    max_history_age_days: float | None = None
    """Compact sessions that ended and whose last event is older, where that makes them smaller: what was
    before their oldest checkpoint, or before their end, is folded into one event. None: history stays."""
    max_storage_size_mb: float | None = None
    """Quota of the store, in MB as `get_storage_metrics` counts them. Beyond it, with
    ``auto_cleanup_enabled``, the sessions that ended longest ago go; where that does not do, or without it,
    new sessions and checkpoints from outside of a run are refused (QuotaExceeded), and sessions under way
    go on. None: no quota."""

    batch_save_enabled: bool = True
    """Let sessions of this manager that append at the same time share a commit, on stores to which that is
    quicker. Each call still returns once it is durable; one that is alone waits for nobody."""
    batch_save_size: int = 10
    """Most sessions that share a commit."""

    cache_enabled: bool = True
    """Keep states that were read in this process's memory, in plain text, and read only what came after."""
    cache_size_mb: float = 100.0

    lease_ttl: float = 15.0
    """Seconds after which a session whose orchestrator fell silent counts as interrupted."""
    recorded_silence: float | None = 900.0
    """Seconds after which a session that is only recorded, and under no lease (a checkpointer is told neither
    when its program ends nor when it dies), counts as interrupted; the next that comes takes it up. None:
    never."""
    stall_patience: float = 300.0
    """Seconds for which a lease is renewed from another thread where an agent blocks the event loop that runs
    its session; then others may take the session, as if the process were gone."""
    control_interval: float = 0.4
    """Seconds between two looks for commands from elsewhere, while a step lasts."""
    outage_patience: float = 120.0
    """Seconds for which a running session asks a store that cannot be reached again."""
    max_value_mb: float = 16.0
    """Largest content of one event, in MB, before compression."""

    def __post_init__(self) -> None:
        _positive(self, "auto_save_interval", "lease_ttl", "control_interval", "max_value_mb")
        _positive(
            self, "outage_patience", "stall_patience", "recorded_silence", "cache_size_mb", "batch_save_size"
        )
        _positive(self, "max_session_age_days", "max_checkpoint_age_days", "max_history_age_days")
        _positive(self, "max_storage_size_mb")
        if not 1 <= self.compression_level <= 9:
            raise ConfigurationError(
                f"compression_level is {self.compression_level}; choose 1 (fast) to 9 (small), "
                "or compression_enabled=False."
            )
        if self.encryption_enabled and not self.keys:
            raise ConfigurationError(
                "encryption_enabled needs an encryption_key; make one with `state_core.new_encryption_key()`."
            )

    @property
    def keys(self) -> tuple[str | bytes, ...]:
        if self.encryption_key is None:
            return ()
        if isinstance(self.encryption_key, str | bytes):
            return (self.encryption_key,)
        return tuple(self.encryption_key)


def _positive(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} is {value!r}; it must be greater than 0.")
