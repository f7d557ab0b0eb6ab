"""Bad input: each is refused with a message that says what to do, and nothing is lost or changed by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from state_core import StateManager, StorageBackend
from state_core.branch import Branch
from state_core.events import EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    QuestionNotFound,
    SessionExists,
    SessionNotFound,
    StateError,
    TooLarge,
    TransitionError,
)
from state_core.session import Session

SCRIPT = "<script>alert(1)</script>" * 1000
Places = dict[str, str]
"""Session → its checkpoint."""
Act = Callable[[StateManager, Places], Awaitable[Any]]


@dataclass(frozen=True)
class Bad:
    """Something that cannot be done, and what is said about it."""

    what: str
    act: Act
    error: type[StateError]
    told: str


def on(method: str, *arguments: Any, **named: Any) -> Act:
    return lambda manager, places: getattr(manager, method)(*arguments, **named)


CASES = [
    Bad("an unknown session", on("pause_execution", "nowhere"), SessionNotFound, "list_sessions"),
    Bad("an unknown session's state", on("get_session_state", "nowhere"), SessionNotFound, "list_sessions"),
    Bad("an unknown checkpoint", on("restore_checkpoint", "nowhere"), CheckpointNotFound, "list_checkpoints"),
    Bad(
        "a checkpoint of another session",
        lambda manager, places: manager.restore_checkpoint(places["completed"], session_id="paused"),
        CheckpointNotFound,
        r"in session 'paused'.*list_checkpoints",
    ),
    Bad("resume of a running session", on("resume_execution", "running"), TransitionError, "pause it first"),
    Bad("resume of a completed session", on("resume_execution", "completed"), TransitionError, "Fork it"),
    Bad("pause of a completed session", on("pause_execution", "completed"), TransitionError, "Fork it"),
    Bad("cancel of a completed session", on("cancel_execution", "completed"), TransitionError, "nothing to"),
    Bad("an id that leads elsewhere", on("get_session_state", "../../x"), InvalidId, "letters, digits"),
    Bad("an id that leads elsewhere, made", on("create_session", "../../x"), InvalidId, "letters, digits"),
    Bad("a checkpoint's id elsewhere", on("restore_checkpoint", "../../x"), InvalidId, "letters, digits"),
    Bad("an id with a NUL", on("create_session", "x\0"), InvalidId, "letters, digits"),
    Bad("an id over the length", on("create_session", "x" * 129), InvalidId, "128"),
    Bad("an empty id", on("create_session", ""), InvalidId, "128"),
    Bad("a session that is there", on("create_session", "paused"), SessionExists, "Choose another id"),
    Bad(
        "a context that is no JSON",
        on("resume_execution", "paused", {"when": object()}),
        InvalidValue,
        r"context\['when'\]",
    ),
    Bad(
        "a context that is no object",
        on("resume_execution", "paused", [1]),
        InvalidValue,
        "context is a list",
    ),
    Bad("a new session's context", on("create_session", "new", context="x"), InvalidValue, "is a str"),
    Bad("metadata that is no JSON", on("pause_execution", "running", {"f": print}), InvalidValue, "metadata"),
    Bad(
        "a context of 20 MB",
        on("resume_execution", "paused", {"blob": "x" * 20_000_000}),
        TooLarge,
        r"20\.0 MB.*max_value_mb",
    ),
    Bad("an answer that nobody asked for", on("answer", "paused", "q", 1), QuestionNotFound, "'q'"),
    Bad("deletion of a running session", on("delete_session", "running"), LeaseHeld, "Pause it there first"),
]


@pytest.fixture
def elsewhere(storage: StorageBackend) -> StateManager:
    return StateManager(storage, actor="somebody")


async def worked(session: Session) -> Branch:
    branch = await session.open_branch("work")
    async with branch.step("Agent", "in") as step:
        step.output = "out"
    return branch


async def places_of(manager: StateManager) -> Places:
    """A session that is completed, one that is paused, and a checkpoint of each."""
    for name in ("completed", "paused"):
        async with manager.session(name, on_pause="raise") as session:
            await worked(session)
            if name == "paused":
                await session.request_pause("to look")
                await session.pause_point()
    return {name: await manager.create_checkpoint(name, "place") for name in ("completed", "paused")}


async def everything(manager: StateManager) -> dict[str, Any]:
    heads = await manager.list_sessions()
    return {head.session_id: (head.last_seq, head.status, head.counts) for head in heads}


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.what.replace(" ", "-"))
async def test_it_is_refused_in_words_and_changes_nothing(bad: Bad, storage: StorageBackend) -> None:
    manager, other = StateManager(storage), StateManager(storage, actor="somebody")
    places = await places_of(manager)
    async with manager.session("running") as session:
        branch = await worked(session)
        before = await everything(manager)
        with pytest.raises(bad.error, match=bad.told):
            await bad.act(other, places)
        assert await everything(manager) == before
        await branch.add_message("assistant", "it goes on")
    state = await manager.get_session_state("running")
    assert [message.content for message in state.branch("work").memory] == ["it goes on"]
    assert state.status == "completed"


async def test_a_message_of_20_mb_is_refused_alone(storage: StorageBackend) -> None:
    manager = StateManager(storage)
    async with manager.session("s") as session:
        branch = await worked(session)
        with pytest.raises(TooLarge, match=r"20\.0 MB.*max_value_mb"):
            await branch.add_message("assistant", "x" * 20_000_000)
        await branch.add_message("assistant", "shorter")
    state = await manager.get_session_state("s")
    assert [message.content for message in state.branch("work").memory] == ["shorter"]
    assert state.status == "completed"


async def test_an_error_that_names_a_file_in_bytes_is_recorded(storage: StorageBackend) -> None:
    manager = StateManager(storage)
    with pytest.raises(FileNotFoundError):
        async with manager.session("s") as session:
            branch = await session.open_branch("work")
            async with branch.step("Agent"):
                raise FileNotFoundError(os.fsdecode(b"/tmp/caf\xe9"))
    state = await manager.get_session_state("s")
    assert state.status == "failed"
    assert r"FileNotFoundError: /tmp/caf\udce9" in (state.branch("work").steps[0].error or "")


async def test_a_name_that_is_no_text_is_refused_alone(storage: StorageBackend) -> None:
    manager = StateManager(storage)
    async with manager.session("s") as session:
        branch = await worked(session)
        with pytest.raises(InvalidValue, match=r"name in step\.started cannot be stored"):
            await branch.step("\ud800").__aenter__()
        await worked(session)
    assert (await manager.get_head("s")).status == "completed"


async def test_a_message_full_of_markup_is_kept_as_it_is(storage: StorageBackend) -> None:
    manager = StateManager(storage)
    async with manager.session("s", context={SCRIPT[:100]: SCRIPT}) as session:
        await (await worked(session)).add_message("assistant", SCRIPT)
    state = await manager.get_session_state("s")
    assert state.branch("work").memory[0].content == SCRIPT
    assert state.context == {SCRIPT[:100]: SCRIPT}


async def test_of_two_resumes_at_once_one_is_told_that_it_came_too_late(
    storage: StorageBackend, elsewhere: StateManager
) -> None:
    manager = StateManager(storage)
    await manager.create_session("s")
    await manager.pause_execution("s")
    asked = [who.resume_execution("s", {key: 1}) for who, key in ((manager, "a"), (elsewhere, "b"))]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in refused] == [TransitionError]
    requests = await manager.log.read("s", kinds=[EventKind.RESUME_REQUESTED])
    assert len(requests) == 1
    state = await manager.get_session_state("s")
    assert state.status == "resuming"
    assert list(state.context) == ["a" if requests[0].actor == manager.actor else "b"]
