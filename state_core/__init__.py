"""State that outlives the process, for workflows of many agents. Loads no Django."""

from state_core.codec import new_encryption_key
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.manager import StateManager
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
from state_core.session import Session
from state_core.storage.base import HeadQuery, StorageBackend
from state_core.storage.memory import MemoryStorageBackend

__all__ = [
    "BranchState",
    "BranchStatus",
    "BranchType",
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointKind",
    "Head",
    "HeadQuery",
    "MemoryStorageBackend",
    "Message",
    "Question",
    "Session",
    "SessionState",
    "SessionStatus",
    "StateManager",
    "StateManagerConfig",
    "StepState",
    "StepStatus",
    "StorageBackend",
    "new_encryption_key",
]
