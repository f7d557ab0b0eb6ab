"""Small sessions that have a bit of everything: what the samples of each version hold."""

from __future__ import annotations

import asyncio
from typing import Any

from state_core import Session, StateManager, StateManagerConfig, StorageBackend
from state_core.branch import Step

KEY = "c2FtcGxlcyBvZiBzdG9yZXMgbmVlZCBubyBzZWNyZXQ="
"""It keeps nothing secret."""
OTHER_KEY = "YSBzZWNvbmQga2V5IHRoYXQgY2FtZSBhZnRlciB0aGU="
LONG_TEXT = "The moon pulls at the sea, and the sea follows it around the earth. " * 5
"""Long enough to be compressed."""

PLAIN = StateManagerConfig(compression_enabled=False, control_interval=0.05)
COMPRESSED = StateManagerConfig(control_interval=0.05)
ENCRYPTED = StateManagerConfig(control_interval=0.05, encryption_key=KEY)
ROTATED = StateManagerConfig(control_interval=0.05, encryption_key=[OTHER_KEY, KEY])


def manager_of(storage: StorageBackend, config: StateManagerConfig) -> StateManager:
    """It writes down the same name on every machine."""
    manager = StateManager(storage, config=config, actor="sampler")
    manager.owner = "sampler-1"
    return manager


async def write_sessions(storage: StorageBackend) -> None:
    """Their ids: plain, compressed, encrypted, mixed, forked, pending, failed."""
    await write_whole(manager_of(storage, PLAIN), "plain")
    await write_whole(manager_of(storage, COMPRESSED), "compressed")
    await write_whole(manager_of(storage, ENCRYPTED), "encrypted")
    await write_mixed(storage)
    manager = manager_of(storage, COMPRESSED)
    kept = next(place for place in await manager.list_checkpoints("compressed") if place.pinned)
    await manager.fork_session("compressed", "forked", checkpoint_id=kept.id, reason="another way")
    await manager.create_session("pending", context={"topic": "tides"}, title="Not begun", tags=["new"])
    await write_failed(manager)


async def write_snapshots(storage: StorageBackend) -> None:
    """Of two of them, in the middle."""
    for session_id, config in (("plain", PLAIN), ("encrypted", ENCRYPTED)):
        manager = manager_of(storage, config)
        (first, *_) = await manager.list_checkpoints(session_id)
        manager.log.keep_snapshot(await manager.log.document(session_id, first.seq))
        await manager.log.flush()


async def write_whole(manager: StateManager, session_id: str) -> None:
    """Branches, a join, messages, a question that is answered, a restore, checkpoints changed and gone."""
    given: dict[str, Any] = {"topic": "tides", "limits": {"pages": 3, "ratio": 0.25}, "ünïcödé": "分析"}
    session = manager.session(
        session_id, context=given, metadata={"by": "a test"}, title="Tides", workflow="research", tags=["sea"]
    )
    async with session:
        await write_branches(session)
        await session.checkpoint("collected", reason="before the question")
        await write_question(manager, session)
    marks = await manager.list_checkpoints(session_id)
    await manager.pin_checkpoint(marks[0].id, actor="Zoë")
    await manager.rename_checkpoint(marks[0].id, "all collected", actor="Zoë")
    gone = await manager.create_checkpoint(session_id, "gone again")
    await manager.create_checkpoint(session_id, "at the end", actor="Zoë")
    await manager.delete_checkpoint(gone)
    await manager.restore_checkpoint(marks[0].id, reason="once more", actor="Zoë")
    async with manager.session(session_id, reason="goes on") as session:
        await session.branch("b").add_message("assistant", "And once more.", agent="Second")
        session.results["words"] = 3


async def write_branches(session: Session) -> None:
    first = await session.open_branch("a", agent="First")
    async with first.step("First", {"question": "Why?"}) as step:
        step.output = {"causes": ["moon", "sun"], "certain": True, "none": None}
    await first.add_message("user", LONG_TEXT, name="reader", source="a book")
    second = await session.open_branch("b", parent=first, agent="Second")
    async with second.step("Second", [1, 2.5, "three"]) as step:
        step.output = LONG_TEXT
    await session.set_context(found=2)


async def write_question(manager: StateManager, session: Session) -> None:
    branch = await session.open_branch("c", parent=["a", "b"])
    async with branch.step("Asker") as step:
        waiting = asyncio.create_task(step.ask("Is it enough?", choices=["yes", "no"]))
        await answer(manager, session.session_id)
        step.output = await waiting


async def answer(manager: StateManager, session_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            state = await manager.get_session_state(session_id)
            asked = [question for question in state.questions if question.status == "open"]
            if asked:
                await manager.answer(session_id, asked[0].question_id, "yes", actor="Zoë")
                return
            await asyncio.sleep(0.02)


async def write_mixed(storage: StorageBackend) -> None:
    """Begun in the clear, gone on with compressed, then with one key, then with another."""
    for number, config in enumerate([PLAIN, COMPRESSED, ENCRYPTED, ROTATED]):
        manager = manager_of(storage, config)
        async with manager.session("mixed") as session:
            branch = await session.open_branch("a")
            await branch.add_message("user", f"{number}: {LONG_TEXT}")
            await session.checkpoint(f"part {number}")
        if number < 3:
            await manager.pause_execution("mixed", reason="to be continued")


async def write_failed(manager: StateManager) -> None:
    async with manager.session("failed", title="It cannot go well") as session:
        # Not raised: its traceback would name the places of files.
        step = Step(await session.open_branch("a"), "a:1", "Breaker", "glass")
        await step.begin(())
        await step.fail(OSError("it broke"))
        await session.fail("it broke")
