"""What differs between two places of a session, on every store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from state_core import MemoryStorageBackend, Message, StateManager, StorageBackend, new_encryption_key
from state_core.diff import (
    ALIGNED,
    LISTED,
    LISTED_IN_ALL,
    VALUE_BYTES,
    Listed,
    MemoryDiff,
    memory_diff,
    tokens_of,
)
from state_core.events import Event, EventKind
from state_core.exceptions import CheckpointNotFound, EncryptionKeyError, InvalidValue, SessionNotFound


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    return StateManager(storage)


async def research(manager: StateManager) -> tuple[str, str]:
    """A session that has two checkpoints with work between them."""
    async with manager.session("s", context={"topic": "tides", "budget": {"tokens": 10}}) as session:
        one = await session.open_branch("one")
        async with one.step("Agent", "in") as step:
            await one.add_messages(Message("user", "question"), Message("assistant", "draft"))
            step.output = "out"
        first = await session.checkpoint("first")
        await one.rewrite_memory([Message("user", "question"), Message("assistant", "final")])
        async with one.step("Agent", "again") as step:
            step.output = "more"
        two = await session.open_branch("two", parent=one)
        await two.add_message("assistant", "aside")
        await session.set_context(budget={"tokens": 4})
        await session.set_result("answer", [1, 2])
        second = await session.checkpoint("second")
    return first, second


def said(listed: Listed) -> list[tuple[Any, str]]:
    return [(".".join(map(str, item.path)), item.what) for item in listed.items]


async def test_a_session_is_compared_with_its_fork_and_with_one_of_another_store(
    manager: StateManager,
) -> None:
    first, _second = await research(manager)
    await manager.fork_session("s", "fork", checkpoint_id=first)
    found = await manager.diff(first, session_id="s", other_session_id="fork")
    assert (found.old.session_id, found.new.session_id) == ("s", "fork")
    assert not found.context
    elsewhere = StateManager(MemoryStorageBackend())
    await elsewhere.create_session("s", context={"topic": "rivers"})
    found = await manager.diff(5, session_id="s", other=elsewhere)
    assert found.old.seq == 5
    assert ("topic", "changed") in said(found.context)
    assert [branch.new_status for branch in found.branches] == [""]


async def test_two_checkpoints_differ_in_what_was_done_between_them(manager: StateManager) -> None:
    first, second = await research(manager)
    found = await manager.diff(first, second)
    assert (found.old.name, found.new.name) == ("first", "second")
    assert said(found.context) == [("budget.tokens", "changed")]
    assert said(found.results) == [("answer", "added")]
    assert [(b.branch_id, b.old_status, b.new_status) for b in found.branches] == [
        ("one", "running", "running"),
        ("two", "", "running"),
    ]
    one, two = found.branches
    assert [(s.step_id, s.old_status, s.new_status) for s in one.steps] == [("one:2", "", "completed")]
    assert (one.memory.added, one.memory.removed, one.memory.rewritten) == (0, 0, 1)
    assert (two.memory.added, two.memory.removed, two.memory.rewritten) == (1, 0, 0)
    assert found.new.counts["steps"] - found.old.counts["steps"] == 1
    assert found.new.counts["state_bytes"] > found.old.counts["state_bytes"]


async def test_the_other_way_round_what_was_added_is_removed(manager: StateManager) -> None:
    first, second = await research(manager)
    found = await manager.diff(second, first)
    assert said(found.results) == [("answer", "removed")]
    assert [(b.branch_id, b.old_status, b.new_status) for b in found.branches][1] == ("two", "running", "")


async def test_a_checkpoint_is_compared_with_the_present(manager: StateManager) -> None:
    first, _second = await research(manager)
    found = await manager.diff(first)
    assert found.new.status == "completed"
    assert found.new.seq == (await manager.get_head("s")).last_seq
    assert found.new.name == ""


async def test_two_events_are_compared(manager: StateManager) -> None:
    await research(manager)
    found = await manager.diff(1, 2, session_id="s")
    assert (found.old.status, found.new.status) == ("pending", "running")
    assert not found.branches
    assert found


async def test_a_branch_that_only_got_a_child_does_not_differ(manager: StateManager) -> None:
    async with manager.session("s") as session:
        parent = await session.open_branch("parent")
        before = await session.checkpoint("before")
        await session.open_branch("child", parent=parent)
        found = await manager.diff(before, session_id="s")
    assert [branch.name for branch in found.branches] == ["child"]


async def test_a_place_does_not_differ_from_itself(manager: StateManager) -> None:
    first, _second = await research(manager)
    assert not await manager.diff(first, first)


async def test_a_restore_leaves_nothing_that_differs_but_the_status(manager: StateManager) -> None:
    first, _second = await research(manager)
    await manager.restore_checkpoint(first)
    found = await manager.diff(first)
    assert [(b.old_status, b.new_status) for b in found.branches] == [("running", "paused")]
    assert not (
        found.context or found.results or found.branches[0].steps or found.branches[0].memory.messages
    )


async def test_a_fork_is_compared_with_the_session_that_it_comes_from(manager: StateManager) -> None:
    first, _second = await research(manager)
    await manager.fork_session("s", "fork", checkpoint_id=first)
    there = await manager.create_checkpoint("fork", "forked")
    found = await manager.diff(first, there)
    assert (found.old.session_id, found.new.session_id) == ("s", "fork")
    assert not found.context


async def test_a_diff_is_json(manager: StateManager) -> None:
    first, second = await research(manager)
    document = json.loads(json.dumps((await manager.diff(first, second)).to_document()))
    assert document["context"]["items"][0]["path"] == ["budget", "tokens"]
    assert document["context"]["items"][0]["new"]["value"] == 4


async def test_what_is_not_there_cannot_be_compared(manager: StateManager) -> None:
    await research(manager)
    with pytest.raises(CheckpointNotFound):
        await manager.diff("cp-nowhere")
    with pytest.raises(SessionNotFound):
        await manager.diff(1, session_id="nowhere")
    with pytest.raises(InvalidValue, match="events 1 to"):
        await manager.diff(1, 1_000, session_id="s")
    with pytest.raises(InvalidValue, match="session_id"):
        await manager.diff(1)


async def test_without_the_key_nothing_can_be_compared(storage: StorageBackend) -> None:
    first, _second = await research(StateManager(storage, encryption_key=new_encryption_key()))
    with pytest.raises(EncryptionKeyError):
        await StateManager(storage).diff(first)


# Memories


def counted(diff: MemoryDiff) -> tuple[int, int, int]:
    return diff.added, diff.removed, diff.rewritten


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("abc", "abcde", (2, 0, 0)),
        ("abcde", "abc", (0, 2, 0)),
        ("abcde", "abXde", (0, 0, 1)),
        ("abcde", "acde", (0, 1, 0)),
        ("acde", "abcde", (1, 0, 0)),
        ("abcde", "Sde", (0, 2, 1)),
        ("", "ab", (2, 0, 0)),
        ("abc", "abc", (0, 0, 0)),
    ],
)
def test_messages_are_added_removed_or_rewritten(old: str, new: str, expected: tuple[int, int, int]) -> None:
    sides = [[{"role": "user", "content": letter} for letter in side] for side in (old, new)]
    assert counted(memory_diff("b", *sides)) == expected


def test_long_memories_are_listed_up_to_a_number_and_counted_beyond() -> None:
    messages = [{"content": number} for number in range(3 * ALIGNED)]
    found = memory_diff("b", [], messages)
    assert (len(found.messages.items), found.added) == (LISTED, 3 * ALIGNED)
    assert found.messages.left_out == 3 * ALIGNED - LISTED
    odd = [{"content": -1} if number % 2 else message for number, message in enumerate(messages)]
    assert counted(memory_diff("b", messages, odd)) == (0, 0, 3 * ALIGNED // 2)


def test_a_long_value_is_cut_and_says_how_long_it_is() -> None:
    found = memory_diff("b", [], [{"content": "ö" * VALUE_BYTES}])
    value = found.messages.items[0].new
    assert value
    assert value.is_cut
    assert value.bytes > 2 * VALUE_BYTES
    assert len(value.value.encode()) <= VALUE_BYTES


async def test_what_steps_took_is_told_of_both_places(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("one")
        async with branch.step("Model") as step:
            step.output = {"text": "in the output", "usage": {"input_tokens": 900, "output_tokens": 100}}
        first = await session.checkpoint("first")
        async with branch.step("Model") as step:
            step.output = {"usage": {"prompt_tokens": 20, "completion_tokens": 3}}
        async with branch.step("Odd") as step:
            step.output = {"usage": {"input_tokens": "many"}}
    found = await manager.diff(first, (await manager.get_head("s")).last_seq)
    assert (found.old.tokens, found.new.tokens) == (1000, 1023)
    assert 0 < found.old.step_seconds < found.new.step_seconds
    assert found.to_document()["new"]["tokens"] == 1023


def test_usage_in_a_steps_metadata_counts_once() -> None:
    usage = {"usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}}
    assert tokens_of({"metadata": usage, "output": usage}) == 12
    assert tokens_of({"metadata": {}, "output": "text"}) == 0
    assert tokens_of({}) == 0


async def test_of_very_much_that_differs_a_part_is_listed_and_all_is_counted(
    manager: StateManager,
) -> None:
    branches = LISTED + 50
    await manager.create_session("wide")
    for n in range(branches):
        opened = Event(
            kind=EventKind.BRANCH_OPENED, branch_id=f"b{n}", status="running", data={"name": f"b{n}"}
        )
        steps = [
            Event(kind=EventKind.STEP_STARTED, branch_id=f"b{n}", step_id=f"b{n}:{i}", status="running")
            for i in range(3)
        ]
        await manager.log.append("wide", [opened, *steps])
    found = await manager.diff(1, (await manager.get_head("wide")).last_seq, session_id="wide")
    assert (len(found.branches), found.branches_total) == (LISTED, branches)
    assert sum(len(branch.steps) for branch in found.branches) == LISTED_IN_ALL
    assert all(branch.steps_total == 3 for branch in found.branches)
    assert len(json.dumps(found.to_document())) < 1_000_000
