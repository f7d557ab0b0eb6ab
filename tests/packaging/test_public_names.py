"""The names that programs write down: they stay."""

from __future__ import annotations

import inspect

import pytest

import state_core
from state_core import StateManager
from state_core.exceptions import StateError

PUBLIC = {
    "Again", "BranchState", "BranchStatus", "BranchType", "Checkpoint", "CheckpointConfig", "CheckpointKind",
    "CleanupReport",
    "DatabaseStorageBackend", "FileStorageBackend", "Handoff", "Head", "HeadQuery", "MemoryStorageBackend",
    "Message", "Node", "Orchestra", "OrchestraInstance", "OrchestraResult", "OrchestraWorker",
    "PatternConfig", "Question", "RedisStorageBackend", "Session", "SessionState", "SessionStatus",
    "StateDiff", "StateManager", "StateManagerConfig", "StepContext", "StepState", "StepStatus",
    "StorageBackend", "Topology", "agent", "new_encryption_key",
}  # fmt: skip
ORCHESTRA = {"Orchestra", "OrchestraInstance", "OrchestraWorker", "PatternConfig", "agent"}

MANAGER_METHODS = {
    "get_session_state", "save_session_state", "pause_execution", "resume_execution", "cancel_execution",
    "create_checkpoint", "restore_checkpoint", "list_checkpoints", "get_checkpoint", "cleanup_checkpoints",
    "get_session_metrics", "get_storage_metrics", "list_sessions", "delete_session", "fork_session",
    "answer", "session", "sync", "close", "cleanup", "diff",
    "preview_restore", "undo_restore", "lineage",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_library_has_the_name(name: str) -> None:
    assert hasattr(state_core, name)
    assert name in state_core.__all__


@pytest.mark.parametrize("name", sorted(ORCHESTRA))
def test_the_orchestra_has_the_name(name: str) -> None:
    assert hasattr(__import__("state_core.orchestra", fromlist=[name]), name)


@pytest.mark.parametrize("name", sorted(MANAGER_METHODS))
def test_the_manager_has_the_method(name: str) -> None:
    assert hasattr(StateManager, name)


def test_everything_public_exists_and_nothing_is_named_twice() -> None:
    assert len(state_core.__all__) == len(set(state_core.__all__))
    assert all(hasattr(state_core, name) for name in state_core.__all__)


def test_the_manager_takes_the_parameters_of_the_specification() -> None:
    parameters = list(inspect.signature(StateManager).parameters)
    wanted = ["storage", "auto_save_interval", "compression", "encryption_key", "checkpoint_config", "config"]
    assert parameters[: len(wanted)] == wanted


def test_every_error_is_in_the_one_tree() -> None:
    import state_core.exceptions as module

    errors = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == module.__name__
    }
    assert all(issubclass(getattr(module, name), StateError) for name in errors)
    assert all(name in (module.__doc__ or "") for name in errors)
