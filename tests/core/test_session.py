"""The live session and its writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from state_core import (
    BranchStatus,
    CheckpointConfig,
    CheckpointKind,
    MemoryStorageBackend,
    Message,
    Session,
    SessionStatus,
    StateManager,
    StateManagerConfig,
    StepStatus,
)
from state_core.events import EventKind
from state_core.exceptions import (
    BranchNotFound,
    CancelRequested,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    LeaseLost,
    PauseRequested,
    QuestionAnswered,
    QuestionNotFound,
    StorageUnavailable,
    TooLarge,
    TransitionError,
)

QUICK = StateManagerConfig(control_interval=0.02, lease_ttl=5, outage_patience=5)


class Clock:
    """Seconds since 1970 that pass only when told to, for leases."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Flaky(MemoryStorageBackend):
    """Cannot be reached for as many calls as ``failures`` says; with ``after`` it fails after it wrote."""

    failures = 0
    after = False
    appends = 0

    async def _append(self, *args: Any) -> int:
        self.appends += 1
        if self.failures and not self.after:
            self._fail()
        seq = await super()._append(*args)
        if self.failures:
            self._fail()
        return seq

    def _fail(self) -> None:
        self.failures -= 1
        raise StorageUnavailable("The store cannot be reached.")


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def manager(store: Flaky) -> StateManager:
    return StateManager(store, config=QUICK)


@pytest.fixture
def elsewhere(store: Flaky) -> StateManager:
    return StateManager(store, config=QUICK, actor="somebody")


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.005)


async def status_is(manager: StateManager, status: SessionStatus) -> None:
    async def reached() -> bool:
        return (await manager.get_head("s")).status == status

    await eventually(reached)


async def kinds(manager: StateManager) -> list[str]:
    return [str(event.kind) for event in await manager.log.read("s")]


# Beginning and leaving


async def test_a_session_is_created_run_and_completed(manager: StateManager) -> None:
    async with manager.session(
        "s", context={"a": 1}, title="A title", workflow="flow", tags=["x"]
    ) as session:
        assert session.status == SessionStatus.RUNNING
        assert session.context == {"a": 1}
        assert (await manager.get_head("s")).owner == session.owner
    head = await manager.get_head("s")
    assert (head.status, head.owner, head.title, head.workflow, head.tags) == (
        SessionStatus.COMPLETED,
        "",
        "A title",
        "flow",
        ["x"],
    )
    assert await kinds(manager) == ["session.created", "session.started", "session.completed"]


async def test_an_error_fails_the_session_and_passes_through(manager: StateManager) -> None:
    with pytest.raises(LookupError):
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            async with branch.step("A"):
                raise LookupError("not there")
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.FAILED
    assert "not there" in (state.error or "")
    assert state.branches[0].status == BranchStatus.FAILED
    assert state.branches[0].steps[0].status == StepStatus.FAILED


async def test_a_stopped_program_leaves_an_interrupted_session(manager: StateManager) -> None:
    with pytest.raises(KeyboardInterrupt):
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            async with branch.step("A"):
                session.context["half"] = True
                raise KeyboardInterrupt
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.INTERRUPTED
    assert state.context == {"half": True}
    assert state.branches[0].status == BranchStatus.PAUSED


async def test_a_session_has_one_holder(manager: StateManager, elsewhere: StateManager) -> None:
    async with manager.session("s") as session:
        with pytest.raises(LeaseHeld, match=session.owner):
            await elsewhere.session("s").__aenter__()


async def test_a_completed_session_cannot_be_entered_and_is_not_held_afterwards(
    manager: StateManager,
) -> None:
    async with manager.session("s"):
        pass
    with pytest.raises(TransitionError, match="completed"):
        await manager.session("s").__aenter__()
    assert (await manager.get_head("s")).owner == ""


async def test_a_session_whose_lease_ran_out_is_taken_over() -> None:
    clock = Clock()
    store = MemoryStorageBackend(clock=clock)
    manager = StateManager(store)
    first = await manager.session("s").__aenter__()
    branch = await first.open_branch("b")
    step = await branch.step("A").__aenter__()
    assert step.attempt == 1
    clock.now += 60
    async with manager.session("s") as second:
        assert second.document["branches"]["b"]["steps"]["b:1"]["status"] == "failed"
        assert (await kinds(manager))[-3:] == ["step.failed", "session.interrupted", "session.resumed"]
        with pytest.raises(LeaseLost):
            await first.set_context(late=True)
        async with second.branch("b").step("A", step_id="b:1") as again:
            assert again.attempt == 2
    with pytest.raises(LeaseLost):
        await first.__aexit__(None, None, None)
    assert "late" not in (await manager.get_session_state("s")).context


async def test_a_lease_that_ran_out_unnoticed_is_taken_again() -> None:
    clock = Clock()
    manager = StateManager(MemoryStorageBackend(clock=clock))
    async with manager.session("s") as session:
        clock.now += 60
        await session.set_context(after="a long sleep")
    assert (await manager.get_head("s")).status == SessionStatus.COMPLETED


async def test_a_lease_that_runs_out_again_before_the_append_arrives_is_taken_once_more() -> None:
    clock = Clock()

    class Slow(MemoryStorageBackend):
        stalls = 0

        async def _append(self, *args: Any) -> int:
            if self.stalls:
                self.stalls -= 1
                clock.now += 60
            return await super()._append(*args)

    store = Slow(clock=clock)
    manager = StateManager(store)
    async with manager.session("s") as session:
        store.stalls = 3
        await session.set_context(after="three long sleeps")
    assert (await manager.get_session_state("s")).context == {"after": "three long sleeps"}


async def test_who_was_declared_interrupted_meanwhile_writes_nothing_more() -> None:
    clock = Clock()
    manager = StateManager(MemoryStorageBackend(clock=clock))
    session = await manager.session("s").__aenter__()
    clock.now += 60
    assert await manager.interrupt_expired() == ["s"]
    assert await manager.interrupt_expired() == []
    with pytest.raises(LeaseLost):
        await session.set_context(late=True)
    with pytest.raises(LeaseLost):
        await session.__aexit__(None, None, None)
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED


# Branches, steps, content


async def test_completed_steps_come_back_with_their_output(manager: StateManager) -> None:
    calls = []

    async def work(number: int) -> int:
        calls.append(number)
        return number * 2

    async def program() -> list[int]:
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            answers = [await branch.run("A", work, number) for number in (1, 2)]
            if len(calls) == 2:
                raise ValueError("in between")
            return [*answers, await branch.run("A", work, 3)]

    with pytest.raises(ValueError, match="in between"):
        await program()
    calls.append(0)
    assert await program() == [2, 4, 6]
    assert calls == [1, 2, 0, 3]


@pytest.mark.parametrize("wrong", ["../../x", "", "a/b", "x" * 129])
async def test_ids_of_one_alphabet_only(manager: StateManager, wrong: str) -> None:
    with pytest.raises(InvalidId):
        manager.session(wrong)
    async with manager.session("s") as session:
        with pytest.raises(InvalidId):
            await session.open_branch("b", branch_id=wrong or "/")


async def test_an_unknown_parent_is_named(manager: StateManager) -> None:
    async with manager.session("s") as session:
        await session.open_branch("known")
        with pytest.raises(BranchNotFound, match=r"'nobody'.*known"):
            await session.open_branch("b", parent="nobody")


async def test_messages_of_a_step_are_stored_with_it(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        async with branch.step("A", messages=[Message("user", "question")]) as step:
            step.messages.append(Message("assistant", "answer"))
            seq = session.seq
        assert session.seq == seq + 2
    assert [m.content for m in branch.memory] == ["question", "answer"]


async def test_memory_can_be_rewritten(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        await branch.add_messages(*(Message("user", str(n)) for n in range(5)))
        await branch.rewrite_memory([*branch.memory[:1], Message("system", "summary")])
        assert [m.content for m in branch.memory] == ["0", "summary"]
    assert (await manager.get_head("s")).counts["messages"] == 2


async def test_an_ended_branch_can_be_reopened(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        await branch.fail("no good")
        assert (await manager.get_head("s")).counts["branches_ended"] == 1
        await branch.reopen()
        assert (branch.status, branch.document["error"]) == (BranchStatus.RUNNING, None)
        assert (await manager.get_head("s")).counts["branches_ended"] == 0


async def test_changes_are_saved_with_steps_and_at_the_interval(store: Flaky) -> None:
    config = StateManagerConfig(control_interval=0.01, auto_save_interval=0.05)
    manager = StateManager(store, config=config)
    async with manager.session("s") as session:
        session.context["a"] = 1
        branch = await session.open_branch("b")
        async with branch.step("A"):
            assert (await manager.get_session_state("s")).context == {"a": 1}
        session.context["b"] = 2

        async def saved() -> bool:
            return "b" in (await manager.get_session_state("s")).context

        await eventually(saved)


async def test_what_cannot_be_stored_does_not_end_the_watch(
    store: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    config = StateManagerConfig(control_interval=0.01, auto_save_interval=0.02)
    manager = StateManager(store, config=config)
    async with manager.session("s", on_pause="raise") as session:
        session.context["socket"] = object()

        async def complained() -> bool:
            return "cannot be saved as it is" in caplog.text

        await eventually(complained)
        await StateManager(store).pause_execution("s")
        await session.wait_until_asked()
        await session.pause_point()
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.PAUSED
    assert "its last changes are not saved" in caplog.text


async def test_a_failure_is_recorded_though_the_context_cannot_be_stored(manager: StateManager) -> None:
    with pytest.raises(InvalidValue, match=r"context\['socket'\]"):
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            async with branch.step("A"):
                session.context["socket"] = object()
    state = await manager.get_session_state("s")
    assert (state.status, state.branches[0].steps[0].status) == (SessionStatus.FAILED, StepStatus.FAILED)


async def test_steps_that_end_together_save_a_change_once(manager: StateManager) -> None:
    async with manager.session("s", context={"list": [], "gone": 1}) as session:
        branches = [await session.open_branch(f"b{n}") for n in range(10)]

        async def work(number: int) -> None:
            async with branches[number].step("A"):
                session.context["list"].append(number)
                session.context.pop("gone", None)

        await asyncio.gather(*map(work, range(10)))
    state = await manager.get_session_state("s")
    assert sorted(state.context["list"]) == list(range(10))
    assert "gone" not in state.context


# Writing


async def test_appends_at_the_same_time_go_in_few_commits(manager: StateManager, store: Flaky) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        before, seq = store.appends, session.seq
        await asyncio.gather(*(branch.add_message("user", str(n)) for n in range(50)))
        assert session.seq == seq + 50
        assert store.appends - before <= 3
    assert len(branch.memory) == 50


async def test_a_cancelled_caller_does_not_hold_up_the_others(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        tasks = [asyncio.create_task(branch.add_message("user", str(n))) for n in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.gather(*tasks[1:])
        assert {m.content for m in branch.memory} >= {str(n) for n in range(1, 10)}
    state = await manager.get_session_state("s")
    assert [m.content for m in state.branches[0].memory] == [m.content for m in branch.memory]


@pytest.mark.parametrize("after", [False, True])
async def test_an_outage_is_lived_through_and_nothing_is_written_twice(
    manager: StateManager, store: Flaky, after: bool
) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        store.after, store.failures = after, 2
        await branch.add_message("user", "during the outage")
        await branch.add_message("user", "afterwards")
        assert store.failures == 0
    memory = (await manager.get_session_state("s")).branches[0].memory
    assert [m.content for m in memory] == ["during the outage", "afterwards"]


async def test_an_outage_that_lasts_is_told(store: Flaky) -> None:
    manager = StateManager(store, config=StateManagerConfig(outage_patience=0.1, control_interval=60))
    with pytest.raises(StorageUnavailable):
        async with manager.session("s") as session:
            store.failures = 10_000
            await session.set_context(a=1)
    store.failures = 0
    assert (await manager.get_head("s")).status == SessionStatus.RUNNING


async def test_an_outage_after_the_append_is_not_told_as_a_failure(
    manager: StateManager, elsewhere: StateManager, store: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, outages = store.read_events, []

    async def unreachable(*args: Any, **kwargs: Any) -> Any:
        if len(outages) < 2:
            outages.append(args)
            raise StorageUnavailable("The store cannot be reached.")
        return await read(*args, **kwargs)

    async with StateManager(store, config=StateManagerConfig(control_interval=60)).session("s") as session:
        await elsewhere.create_checkpoint("s", "somebody else's")
        monkeypatch.setattr(store, "read_events", unreachable)
        await session.set_context(a=1)
        assert len(outages) == 2
        assert session.document["context"] == {"a": 1}


async def test_something_too_large_is_refused_alone(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        large = branch.add_message("user", "x" * 20_000_000)
        found = await asyncio.gather(large, branch.add_message("user", "small"), return_exceptions=True)
        assert isinstance(found[0], TooLarge)
        assert found[1] is None
        assert [m.content for m in branch.memory] == ["small"]


# Pausing, in the mode that waits


async def two_steps(session: Session, name: str, gates: list[asyncio.Event], done: list[str]) -> None:
    branch = await session.open_branch(name)
    for gate in gates:
        async with branch.step("A") as step:
            await gate.wait()
            done.append(step.step_id)
    await branch.complete()


async def test_a_waiting_program_pauses_gives_its_lease_back_and_goes_on(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gate, done = asyncio.Event(), []

    async def program() -> None:
        async with manager.session("s") as session:
            await asyncio.gather(*(two_steps(session, n, [gate, gate], done) for n in "ab"))

    running = asyncio.create_task(program())

    async def both_at_work() -> bool:
        return (await elsewhere.get_head("s")).counts["steps"] == 2

    await asyncio.sleep(0)
    await status_exists(elsewhere)
    await eventually(both_at_work)
    assert (await elsewhere.pause_execution("s", reason="look")).status == SessionStatus.PAUSING
    await asyncio.sleep(0.1)
    assert (await elsewhere.get_head("s")).status == SessionStatus.PAUSING
    gate.set()
    await status_is(elsewhere, SessionStatus.PAUSED)
    assert sorted(done) == ["a:1", "b:1"]

    async def is_free() -> bool:
        return (await elsewhere.get_head("s")).owner == ""

    await eventually(is_free)
    state = await elsewhere.resume_execution("s", {"note": "go on"})
    assert state.status == SessionStatus.RESUMING
    await running
    state = await elsewhere.get_session_state("s")
    assert (state.status, state.context) == (SessionStatus.COMPLETED, {"note": "go on"})
    assert sorted(done) == ["a:1", "a:2", "b:1", "b:2"]


async def test_a_pause_that_is_being_recorded_is_not_taken_for_a_lost_lease(
    manager: StateManager, elsewhere: StateManager, store: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch looks at the store at the very moment in which the pause begins."""
    last_seqs, looking = store.last_seqs, asyncio.Event()

    async def slow(session_ids: Any) -> dict[str, int]:
        looking.set()
        await asyncio.sleep(0.05)
        return await last_seqs(session_ids)

    monkeypatch.setattr(store, "last_seqs", slow)

    async def program() -> None:
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            try:
                async with branch.step("A"):
                    await session.request_pause()
                    looking.clear()
                    await looking.wait()
                    raise asyncio.CancelledError
            except asyncio.CancelledError:
                await session.pause_point()

    running = asyncio.create_task(program())
    await status_exists(elsewhere)
    await status_is(elsewhere, SessionStatus.PAUSED)
    await elsewhere.resume_execution("s")
    await running
    assert (await elsewhere.get_head("s")).status == SessionStatus.COMPLETED


async def status_exists(manager: StateManager) -> None:
    async def exists() -> bool:
        return bool(await manager.list_sessions())

    await eventually(exists)


@pytest.fixture
def paused_program(manager: StateManager, elsewhere: StateManager) -> Callable[[], Awaitable[Any]]:
    """Starts a program and pauses it; returns its task, which waits at a pause point."""

    async def start() -> asyncio.Task[Any]:
        async def program() -> None:
            async with manager.session("s") as session:
                branch = await session.open_branch("b")
                async with branch.step("A"):
                    await session.request_pause("by itself")
                    session.context["half"] = True
                async with branch.step("A"):
                    session.context["whole"] = True

        running = asyncio.create_task(program())
        await status_exists(elsewhere)
        await status_is(elsewhere, SessionStatus.PAUSED)
        return running

    return start


async def test_a_paused_session_taken_elsewhere_is_lost_here(
    paused_program: Any, elsewhere: StateManager
) -> None:
    running = await paused_program()
    async with elsewhere.session("s") as session:
        assert session.context == {"half": True}
        with pytest.raises(LeaseLost):
            await running
    assert "whole" not in (await elsewhere.get_session_state("s")).context


async def test_a_paused_session_that_is_cancelled_is_lost_here(
    paused_program: Any, elsewhere: StateManager
) -> None:
    running = await paused_program()
    assert (await elsewhere.cancel_execution("s")).status == SessionStatus.CANCELLED
    with pytest.raises(LeaseLost):
        await running


async def test_a_paused_session_that_is_restored_unwinds_its_program(
    paused_program: Any, elsewhere: StateManager
) -> None:
    running = await paused_program()
    place = await elsewhere.create_checkpoint("s", "here")
    state = await elsewhere.restore_checkpoint(place)
    assert state.status == SessionStatus.PAUSED
    await running
    assert (await elsewhere.get_head("s")).status == SessionStatus.PAUSED
    assert (await elsewhere.get_session_state("s")).context == {"half": True}


async def test_a_program_does_not_take_up_what_was_restored_and_resumed_at_a_stroke(
    store: Flaky, elsewhere: StateManager
) -> None:
    config = StateManagerConfig(control_interval=0.3)
    async with StateManager(store, config=config).session("s") as session:
        branch = await session.open_branch("b")
        place = await elsewhere.create_checkpoint("s", "here")
        await session.request_pause()

        async def restore() -> None:
            await status_is(elsewhere, SessionStatus.PAUSED)
            await elsewhere.restore_checkpoint(place)
            await elsewhere.resume_execution("s")

        restoring = asyncio.create_task(restore())
        async with branch.step("A"):
            raise AssertionError("it must not go on")
    await restoring
    assert (await elsewhere.get_head("s")).status == SessionStatus.RESUMING


async def test_a_lease_that_is_about_to_be_let_go_is_waited_for(manager: StateManager, store: Flaky) -> None:
    await manager.create_session("s")
    lease = await store.acquire("s", "somebody", 60)
    asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(store.release("s", lease.fence)))
    async with manager.session("s") as session:
        assert session.status == SessionStatus.RUNNING


async def test_a_waiting_branch_is_unwound_when_a_cancellation_follows_a_pause(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gate = asyncio.Event()
    unwound = []

    async def line(session: Session, name: str, gate: asyncio.Event | None) -> None:
        branch = await session.open_branch(name)
        try:
            for _ in range(1000):
                async with branch.step("A"):
                    await (gate.wait() if gate else asyncio.sleep(0.001))
        except CancelRequested:
            unwound.append(name)
            raise

    async def program() -> None:
        async with manager.session("s") as session:
            found = await asyncio.gather(
                line(session, "quick", None), line(session, "slow", gate), return_exceptions=True
            )
            raise found[0]

    running = asyncio.create_task(program())
    await status_exists(elsewhere)

    async def both_at_work() -> bool:
        steps = (await elsewhere.get_session_state("s")).branches
        return len(steps) == 2 and all(branch.steps for branch in steps)

    await eventually(both_at_work)
    await elsewhere.pause_execution("s")
    await asyncio.sleep(0.1)
    await elsewhere.cancel_execution("s", reason="enough")
    gate.set()
    async with asyncio.timeout(30):
        await running
    assert sorted(unwound) == ["quick", "slow"]
    assert (await elsewhere.get_head("s")).status == SessionStatus.CANCELLED


async def test_a_program_can_unwind_instead(manager: StateManager, elsewhere: StateManager) -> None:
    steps = []
    async with manager.session("s", on_pause="raise") as session:
        branch = await session.open_branch("b")
        with pytest.raises(PauseRequested):
            while True:
                async with branch.step("A") as step:
                    steps.append(step.step_id)
                    if len(steps) == 2:
                        await session.request_pause()
        raise PauseRequested
    assert steps == ["b:1", "b:2"]
    head = await elsewhere.get_head("s")
    assert (head.status, head.owner) == (SessionStatus.PAUSED, "")


async def test_a_restore_while_it_runs_unwinds_even_a_waiting_program(
    manager: StateManager, elsewhere: StateManager
) -> None:
    async with manager.session("s", context={"n": 0}) as session:
        branch = await session.open_branch("b")
        place = await elsewhere.create_checkpoint("s", "start")
        await session.set_context(n=1)
        await elsewhere.restore_checkpoint(place, reason="back")
        while True:
            async with branch.step("A"):
                await asyncio.sleep(0.005)
    state = await elsewhere.get_session_state("s")
    assert (state.status, state.context) == (SessionStatus.PAUSED, {"n": 0})
    assert [c.kind for c in state.checkpoints] == [CheckpointKind.MANUAL, CheckpointKind.PRE_RESTORE]


# Asking


NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_an_answer_lets_the_program_go_on(manager: StateManager, elsewhere: StateManager) -> None:
    async def program() -> Any:
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            async with branch.step("A") as step:
                step.output = await step.ask("Which?", choices=[1, 2])
            return step.output

    running = asyncio.create_task(program())
    await status_exists(elsewhere)
    await status_is(elsewhere, SessionStatus.WAITING)
    with pytest.raises(QuestionNotFound):
        await elsewhere.answer("s", "b:1.q9", 1)
    (question,) = (await elsewhere.get_session_state("s")).questions
    await elsewhere.record_link_shared("s", "b:1.q1", until=NOW, to="Ben", actor="ann")
    await elsewhere.record_link_withdrawn("s", "b:1.q1", to="Ben", actor="ann")
    with pytest.raises(QuestionNotFound):
        await elsewhere.answer("s", "b:1.q1", 1, asked_at=NOW)
    await elsewhere.answer("s", "b:1.q1", 2, actor="ann", asked_at=question.asked_at)
    assert await running == 2
    with pytest.raises(QuestionAnswered, match="ann answered this question"):
        await elsewhere.answer("s", "b:1.q1", 1)
    assert (await elsewhere.get_head("s")).counts["questions"] == 0
    links = await elsewhere.log.read("s", kinds=[EventKind.LINK_SHARED, EventKind.LINK_WITHDRAWN])
    assert [(event.actor, event.data["for"]) for event in links] == [("ann", "Ben")] * 2
    assert links[0].data["until"] == "2026-01-01T00:00:00+00:00"


async def test_a_waiting_program_can_be_paused_at_its_question_and_answered_meanwhile(
    manager: StateManager, elsewhere: StateManager
) -> None:
    async def program() -> Any:
        async with manager.session("s") as session:
            branch = await session.open_branch("b")
            async with branch.step("A") as step:
                return await step.ask("?")

    running = asyncio.create_task(program())
    await status_exists(elsewhere)
    await status_is(elsewhere, SessionStatus.WAITING)
    await elsewhere.pause_execution("s")
    await status_is(elsewhere, SessionStatus.PAUSED)
    await elsewhere.answer("s", "b:1.q1", "yes")
    assert not running.done()
    await elsewhere.resume_execution("s")
    assert await running == "yes"


# Checkpoints that are made by themselves


async def test_checkpoints_by_time_on_completion_and_on_error(store: Flaky) -> None:
    config = CheckpointConfig(
        checkpoint_interval=0.03, max_checkpoints=3, checkpoint_on_completion=True, checkpoint_on_error=True
    )
    manager = StateManager(store, config=QUICK, checkpoint_config=config)
    async with manager.session("s") as session:
        named = await session.checkpoint("by hand")
        branch = await session.open_branch("b")

        async def some_by_time() -> bool:
            return sum(e.kind == EventKind.CHECKPOINT_CREATED for e in await manager.log.read("s")) > 5

        await eventually(some_by_time)
        with pytest.raises(ValueError, match="no"):
            async with branch.step("A"):
                raise ValueError("no")
        await branch.complete()
        kept = await manager.list_checkpoints("s")
        assert kept[0].id == named
        assert len(kept) <= 4
        made = {e.data["kind"] for e in await manager.log.read("s", kinds=[EventKind.CHECKPOINT_CREATED])}
        assert made == {"manual", "auto", "error", "completion"}


async def test_a_checkpoint_is_the_size_of_its_state_and_restores_it(manager: StateManager) -> None:
    async with manager.session("s") as session:
        session.context["text"] = "x" * 1000
        checkpoint_id = await session.checkpoint("here")
        session.context["text"] = "y" * 9000
    checkpoint = await manager.get_checkpoint(checkpoint_id)
    assert 1000 < checkpoint.size_bytes < 1200
    assert (await manager.restore_checkpoint(checkpoint_id)).context["text"] == "x" * 1000


async def test_a_session_is_left_though_something_swallows_that_its_watcher_is_cancelled(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = asyncio.Event()

    async def look_and_be_deaf() -> None:
        looking.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    session = manager.session("s")
    monkeypatch.setattr(session, "_look", look_and_be_deaf)
    async with asyncio.timeout(30):
        async with session:
            await looking.wait()
    assert session.status == SessionStatus.COMPLETED


async def test_a_checkpoint_takes_what_it_stands_behind_into_its_commit(manager: StateManager) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("talk")
        before = session.seq
        checkpoint_id = await session.checkpoint("turn", branch.messages_event([Message("user", "Hello")]))
        assert session.seq == before + 2
        await branch.add_message("user", "later")
    checkpoint = await manager.get_checkpoint(checkpoint_id)
    assert checkpoint.counts == {"branches": 1, "steps": 0, "messages": 1}
    state = await manager.get_checkpoint_state(checkpoint_id)
    assert [message.content for message in state.branches[0].memory] == ["Hello"]
    assert checkpoint.size_bytes == (await manager.log.document("s", checkpoint.seq))["state_bytes"]


async def test_a_checkpoint_counts_what_the_head_counts(manager: StateManager) -> None:
    async with manager.session("s", context={"topic": "tides"}) as session:
        branch = await session.open_branch("b")
        async with branch.step("A", 1) as step:
            step.messages.append(Message("assistant", "Done"))
        await session.remember("A", Message("user", "own"))
        session.context["topic"] = "the moon"
        checkpoint_id = await session.checkpoint("here")
        counts = (await manager.get_head("s")).counts
    checkpoint = await manager.get_checkpoint(checkpoint_id)
    assert checkpoint.counts == {name: counts[name] for name in ("branches", "steps", "messages")}
    assert checkpoint.size_bytes == counts["state_bytes"]


async def test_a_checkpoint_on_completion_is_in_the_commit_that_completes(store: Flaky) -> None:
    config = CheckpointConfig(checkpoint_on_completion=True)
    manager = StateManager(store, config=QUICK, checkpoint_config=config)
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        before = session.seq
        appends = store.appends
        await branch.complete()
        assert (session.seq, store.appends) == (before + 2, appends + 1)
    [checkpoint] = await manager.list_checkpoints("s")
    assert (checkpoint.kind, checkpoint.seq) == (CheckpointKind.COMPLETION, before + 2)
