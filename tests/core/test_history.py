"""Going back with open eyes, and families of sessions, on every store."""

from __future__ import annotations

import pytest

from state_core import Message, StateManager, StorageBackend, new_encryption_key
from state_core.events import Event, EventKind
from state_core.exceptions import CheckpointNotFound, InvalidValue, SessionNotFound
from state_core.preview import RestorePreview, named


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    return StateManager(storage, actor="tests")


async def research(manager: StateManager) -> str:
    """A session with a checkpoint in its middle, taken while a step was under way."""
    async with manager.session("s", context={"topic": "tides"}) as session:
        one = await session.open_branch("one")
        async with one.step("Collector") as step:
            step.output = "sea"
        async with one.step("Reader"):
            middle = await session.checkpoint("middle")
        two = await session.open_branch("two", parent=one)
        for _ in range(2):
            async with two.step("Writer"):
                await two.add_messages(Message("assistant", "draft"))
    return middle


def ids(preview: RestorePreview) -> list[list[str]]:
    return [[step.step_id for step in part] for part in (preview.steps, preview.again, preview.steps_back)]


async def test_a_preview_says_what_is_set_aside_and_executed_again(manager: StateManager) -> None:
    middle = await research(manager)
    before = await manager.get_head("s")
    preview = await manager.preview_restore(middle)
    assert ids(preview) == [["two:1", "two:2"], ["one:2", "two:1", "two:2"], []]
    assert (preview.branches, preview.messages) == (("two",), 2)
    assert preview.sentences() == [
        "Set aside: 2 steps: Writer (two:1), Writer (two:2); 2 messages; 1 branch: two "
        f"({before.last_seq - preview.to} events since the checkpoint).",
        "Executed again when it is resumed: Reader (one:2), Writer (two:1), Writer (two:2).",
    ]
    assert await manager.get_head("s") == before


async def test_of_many_steps_a_preview_says_how_many_each_agent_has(manager: StateManager) -> None:
    async with manager.session("s") as session:
        before = await session.checkpoint("before")
        branch = await session.open_branch("one")
        for number in range(7):
            async with branch.step("Writer" if number < 6 else "Reader"):
                pass
    told = (await manager.preview_restore(before)).sentences()
    assert told[0].startswith("Set aside: 7 steps: 6 of Writer, 1 of Reader; 1 branch: one (")
    assert told[1].startswith("Executed again when it is resumed: 6 of Writer, 1 of Reader.")


async def test_a_preview_says_how_long_what_is_executed_again_took(manager: StateManager) -> None:
    await manager.create_session("s")
    opened = Event(kind=EventKind.BRANCH_OPENED, branch_id="b", status="running", data={"name": "b"})
    await manager.log.append("s", [opened])
    before = await manager.create_checkpoint("s", "before")
    steps = [
        Event(kind=kind, branch_id="b", step_id=f"b:{n}", agent="Writer", status=status, duration=duration)
        for n in range(2)
        for kind, status, duration in (
            (EventKind.STEP_STARTED, "running", None),
            (EventKind.STEP_COMPLETED, "completed", 93.5),
        )
    ]
    await manager.log.append("s", steps)
    preview = await manager.preview_restore(before)
    assert preview.again_seconds == 187
    assert preview.sentences()[-1] == (
        "Executed again when it is resumed: Writer (b:0), Writer (b:1). They took 3 m 07 s."
    )


async def test_what_a_preview_says_comes_true_and_is_undone(manager: StateManager) -> None:
    middle = await research(manager)
    preview = await manager.preview_restore(middle)
    whole = await manager.get_session_state("s")
    restored = await manager.restore_checkpoint(middle)
    assert whole.total_steps - restored.total_steps == len(preview.steps)
    assert len(whole.branches) - len(restored.branches) == len(preview.branches)

    (before,) = [c.id for c in await manager.list_checkpoints("s") if c.kind == "pre_restore"]
    back = await manager.preview_restore(before)
    assert [step.step_id for step in back.steps_back] == ["two:1", "two:2"]
    assert (
        "Comes back: 2 steps: Writer (two:1), Writer (two:2); 2 messages; 1 branch: two." in back.sentences()
    )
    undone = await manager.undo_restore("s", actor="ana")
    assert undone.total_steps == whole.total_steps
    assert not any(branch.steps for branch in (await manager.diff(before)).branches)
    assert (await manager.undo_restore("s")).total_steps == restored.total_steps


async def test_questions_that_open_again_and_that_go_are_told(manager: StateManager) -> None:
    await research(manager)
    before = await manager.create_checkpoint("s", "before")
    asked = Event(
        kind=EventKind.INPUT_REQUESTED,
        branch_id="one",
        agent="Editor",
        data={"question": "q", "session": "paused"},
    )
    await manager.log.append("s", [asked])
    open_one = await manager.create_checkpoint("s", "open")
    assert "No longer open: 1 question, of Editor." in (await manager.preview_restore(before)).sentences()
    await manager.answer("s", "q", "this one")
    assert "Open again: 1 question, of Editor." in (await manager.preview_restore(open_one)).sentences()


async def test_only_what_was_restored_can_be_undone(manager: StateManager) -> None:
    middle = await research(manager)
    with pytest.raises(InvalidValue, match="no restore that could be undone"):
        await manager.undo_restore("s")
    await manager.restore_checkpoint(middle)
    (before,) = [c.id for c in await manager.list_checkpoints("s") if c.kind == "pre_restore"]
    await manager.delete_checkpoint(before)
    with pytest.raises(InvalidValue):
        await manager.undo_restore("s")


async def test_a_preview_needs_no_key(storage: StorageBackend) -> None:
    middle = await research(StateManager(storage, encryption_key=new_encryption_key()))
    assert (await StateManager(storage).preview_restore(middle)).branches == ("two",)


async def test_a_preview_of_what_is_not_there_is_refused(manager: StateManager) -> None:
    await research(manager)
    with pytest.raises(CheckpointNotFound):
        await manager.preview_restore("cp-nowhere")
    with pytest.raises(CheckpointNotFound):
        await manager.preview_restore("cp-nowhere", session_id="s")


async def test_a_family_is_told_upwards_and_downwards(manager: StateManager) -> None:
    middle = await research(manager)
    await manager.fork_session("s", "child", checkpoint_id=middle, reason="another way", actor="ana")
    await manager.fork_session("child", "grandchild")
    await manager.fork_session("s", "s.1")
    found = await manager.lineage("s")
    assert [(fork.session_id, fork.generation) for fork in found.forks] == [
        ("child", 1),
        ("grandchild", 2),
        ("s.1", 1),
    ]
    first = found.forks[0]
    place = await manager.get_checkpoint(middle)
    assert (first.seq, first.actor, first.reason) == (place.seq, "ana", "another way")
    young = await manager.lineage("grandchild")
    assert [(origin.session_id, origin.generation) for origin in young.origins] == [("s", -2), ("child", -1)]
    assert not young.forks
    await manager.delete_session("s")
    orphan = await manager.lineage("child")
    assert [(origin.session_id, origin.head) for origin in orphan.origins] == [("s", None)]
    with pytest.raises(SessionNotFound):
        await manager.lineage("s")


async def test_restores_are_told_with_who_and_why(manager: StateManager) -> None:
    middle = await research(manager)
    assert not await manager.lineage("s")
    await manager.restore_checkpoint(middle, reason="a better draft", actor="ana")
    await manager.undo_restore("s", actor="bo")
    restores = (await manager.lineage("s")).restores
    assert [(r.actor, r.reason) for r in restores] == [("ana", "a better draft"), ("bo", "undo the restore")]
    assert restores[0].checkpoint_id == middle


def test_many_names_are_counted() -> None:
    assert named("abcdefg") == "a, b, c, d, e and 2 more"
    assert named(["a"]) == "a"
