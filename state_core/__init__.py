"""State that outlives the process, for workflows of many agents. Loads no Django."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from state_core.codec import new_encryption_key
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.diff import StateDiff
from state_core.manager import StateManager
from state_core.orchestra import (
    Again,
    Handoff,
    Node,
    Orchestra,
    OrchestraInstance,
    OrchestraResult,
    OrchestraWorker,
    PatternConfig,
    StepContext,
    Topology,
    agent,
)
from state_core.records import (
    BranchState,
    BranchStatus,
    BranchType,
    Checkpoint,
    CheckpointKind,
    Head,
    Message,
    Question,
    SessionState,
    SessionStatus,
    StepState,
    StepStatus,
)
from state_core.retention import CleanupReport
from state_core.session import Session
from state_core.storage.base import HeadQuery, StorageBackend
from state_core.storage.file import FileStorageBackend
from state_core.storage.memory import MemoryStorageBackend
from state_core.storage.redis import RedisStorageBackend

if TYPE_CHECKING:
    from state_core.storage.database import DatabaseStorageBackend

__all__ = [
    "Again",
    "BranchState",
    "BranchStatus",
    "BranchType",
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointKind",
    "CleanupReport",
    "DatabaseStorageBackend",
    "FileStorageBackend",
    "Handoff",
    "Head",
    "HeadQuery",
    "MemoryStorageBackend",
    "Message",
    "Node",
    "Orchestra",
    "OrchestraInstance",
    "OrchestraResult",
    "OrchestraWorker",
    "PatternConfig",
    "Question",
    "RedisStorageBackend",
    "Session",
    "SessionState",
    "SessionStatus",
    "StateDiff",
    "StateManager",
    "StateManagerConfig",
    "StepContext",
    "StepState",
    "StepStatus",
    "StorageBackend",
    "Topology",
    "agent",
    "new_encryption_key",
]


def __getattr__(name: str) -> Any:
    """The database store is imported when it is asked for: it imports Django."""
    if name == "DatabaseStorageBackend":
        return import_module("state_core.storage.database").DatabaseStorageBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
