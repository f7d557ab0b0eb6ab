"""Pausing at step boundaries, resuming, cancelling, restoring, asking; in one process and from another."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from state_core import SessionStatus, StateManager, StepStatus, StorageBackend
from state_core.events import EventKind
from state_core.exceptions import InvalidValue, LeaseHeld, LeaseLost, OrchestraError, TransitionError
from state_core.orchestra import Again, Node, OrchestraInstance, PatternConfig, Topology
from tests.orchestra.conftest import QUICK, eventually, reaches

S = {"session_id": "s"}


class Gated:
    """An agent whose every step waits until it is let through; counts the executions of each step."""

    def __init__(self, steps: int = 3) -> None:
        self.steps = steps
        self.began: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.gate = asyncio.Event()

    async def __call__(self, request: Any, context: Any) -> Any:
        number = request if isinstance(request, int) else 1
        self.began[context.step_id] += 1
        await self.gate.wait()
        self.done[context.step_id] += 1
        return Again(number + 1) if number < self.steps else f"{context.branch_id} done"

    async def reaches(self, *step_ids: str) -> None:
        async def have_begun() -> bool:
            return all(self.began[step_id] for step_id in step_ids)

        await eventually(have_begun)


PARALLEL = Topology([Node("all", ["A", "B", "C"]), Node("join", ["J"], ["all"])])


def parallel(gated: Gated, manager: StateManager, **options: Any) -> OrchestraInstance:
    agents = {**dict.fromkeys("ABC", gated), "J": lambda request: request}
    return OrchestraInstance(PARALLEL, manager, agents, **options)


async def test_a_pause_takes_effect_at_the_step_boundary_of_every_branch(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gated = Gated()
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1", "all.B:1", "all.C:1")
    state = await elsewhere.pause_execution("s", {"asked_by": "a test"}, reason="have a look")
    assert state.status == SessionStatus.PAUSING
    await asyncio.sleep(0.2)
    assert not running.done()
    gated.gate.set()
    let_through = time.monotonic()
    result = await running
    assert time.monotonic() - let_through < 1
    assert result.status == "paused"
    assert not result.success
    assert result.error == "have a look"
    assert gated.done == Counter(["all.A:1", "all.B:1", "all.C:1"])
    state = await elsewhere.get_session_state("s")
    assert state.metadata["asked_by"] == "a test"
    assert {step.status for branch in state.branches for step in branch.steps} == {StepStatus.COMPLETED}
    assert (await elsewhere.get_head("s")).owner == ""


async def test_a_paused_session_goes_on_elsewhere_without_repeating_a_step(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gated = Gated()
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1")
    await elsewhere.pause_execution("s")
    gated.gate.set()
    await running
    result = await parallel(gated, elsewhere).resume_session("s", {"note": "go on"})
    assert result.success
    assert result.final_response == {f"all.{n}": f"all.{n} done" for n in "ABC"}
    assert result.context["note"] == "go on"
    assert set(gated.done.values()) == {1}
    assert len(gated.done) == 9
    [resumed] = await manager.log.read("s", kinds=[EventKind.SESSION_RESUMED])
    assert resumed.changes == [["set", ["context", "note"], "go on"]]


async def test_a_pause_asked_for_in_the_last_step_is_kept(manager: StateManager) -> None:
    async def last(request: Any, context: Any) -> str:
        await context.request_pause("look at it first")
        return "done"

    orchestra = OrchestraInstance(Topology([Node("n", ["A"])]), manager, {"A": last})
    assert (await orchestra.execute("t", S)).status == "paused"
    result = await orchestra.resume_session("s")
    assert (result.final_response, result.total_steps) == ("done", 1)


async def test_a_program_started_again_takes_up_its_session(manager: StateManager) -> None:
    async def pause_once(request: Any, context: Any) -> Any:
        context["count"] = context["count"] + 1
        if request == "t":
            await context.request_pause()
            return Again(2)
        return "done"

    orchestra = OrchestraInstance(Topology([Node("n", ["A"])]), manager, {"A": pause_once})
    assert (await orchestra.execute("t", {**S, "count": 0})).status == "paused"
    with pytest.raises(OrchestraError, match="in the middle of another task, 't'"):
        await orchestra.execute("another", S)
    result = await orchestra.execute("t", {**S, "count": 0})
    assert result.success
    assert result.context["count"] == 2


async def test_a_failed_session_can_be_resumed(manager: StateManager) -> None:
    broken = True
    calls: Counter[str] = Counter()

    async def work(request: Any, context: Any) -> str:
        calls[context.branch_id] += 1
        if broken and context.branch_id == "b.X":
            raise ConnectionError("down")
        return context.branch_id

    topology = Topology([Node("a", ["X"]), Node("b", ["X", "Y"], ["a"]), Node("c", ["X"], ["b"])])
    orchestra = OrchestraInstance(topology, manager, {"X": work, "Y": work})
    with pytest.raises(ConnectionError):
        await orchestra.execute("t", S)
    broken = False
    result = await orchestra.resume_session("s")
    assert result.final_response == "c"
    assert calls["a"] == 1
    head = await manager.get_head("s")
    assert head.counts["branches"] == head.counts["branches_ended"] == 4
    assert head.counts["steps_failed"] == 0
    state = await manager.get_session_state("s")
    assert all(branch.error is None for branch in state.branches)
    assert state.branch("b.X").steps[0].attempt == 2


async def test_a_waiting_join_that_was_cancelled_by_a_failure_is_reopened(manager: StateManager) -> None:
    broken = True

    async def join_waits() -> bool:
        return (await manager.get_session_state("s")).branch("J") is not None

    async def slow_and_broken(request: Any) -> str:
        await eventually(join_waits)
        if broken:
            raise ConnectionError
        return "slow"

    topology = PatternConfig.fan_out("S", ["Quick", "Slow"], "J")
    agents = {"S": str, "Quick": str, "Slow": slow_and_broken, "J": lambda request: request}
    orchestra = OrchestraInstance(topology, manager, agents)
    with pytest.raises(ConnectionError):
        await orchestra.execute("t", S)
    assert (await manager.get_session_state("s")).branch("J").status == "cancelled"
    broken = False
    assert (await orchestra.resume_session("s")).final_response == {"Quick": "t", "Slow": "slow"}
    head = await manager.get_head("s")
    assert head.counts["branches"] == head.counts["branches_ended"] == 4


async def test_an_optional_branch_that_failed_is_not_run_again(manager: StateManager) -> None:
    calls = []

    async def fail(request: Any) -> None:
        calls.append(1)
        raise ValueError

    async def pause_first(request: Any, context: Any) -> Any:
        if request == "t":
            await context.request_pause()
            return Again("again")
        return "done"

    topology = Topology([Node("bad", ["F"], on_error="continue"), Node("good", ["P"])])
    orchestra = OrchestraInstance(topology, manager, {"F": fail, "P": pause_first})
    assert (await orchestra.execute("t", S)).status == "paused"
    assert (await orchestra.resume_session("s")).final_response == {"good": "done"}
    assert calls == [1]


async def test_a_completed_session_that_is_paused_runs_another_round(manager: StateManager) -> None:
    async def work(request: Any, context: Any) -> Any:
        return [request, context.get("phase"), context.previous]

    topology = Topology([Node("a", ["A"]), Node("b", ["B"], ["a"])])
    orchestra = OrchestraInstance(topology, manager, {"A": work, "B": str})
    first = await orchestra.execute("t", {**S, "phase": 1})
    for phase in (2, 3):
        await orchestra.create_checkpoint("s", f"before phase {phase}")
        await orchestra.pause_session("s", reason="a person chooses")
        result = await orchestra.resume_session("s", {"phase": phase})
        assert result.final_response == str(["t", phase, first.final_response])
        first = result
    state = await manager.get_session_state("s")
    assert [b.branch_id for b in state.branches] == ["a", "b", "a.r2", "b.r2", "a.r3", "b.r3"]
    assert state.branch("a.r3").parent_ids == ["b.r2"]
    assert state.intermediate_results["final_response"] == result.final_response


async def test_a_further_topology_runs_after_what_is_there(
    manager: StateManager, elsewhere: StateManager
) -> None:
    calls: Counter[str] = Counter()

    async def work(request: Any, context: Any) -> str:
        calls[context.branch_id] += 1
        return f"{context.branch_id} after {context.previous}"

    part1 = Topology([Node("one", ["A"])])
    await OrchestraInstance(part1, manager, {"A": work}).execute("t", S)
    await manager.pause_execution("s", metadata={"handoff_to": "machine_b"})
    part2 = Topology([Node("one", ["A"]), Node("two", ["A"], ["one"]), Node("three", ["A"])])
    result = await OrchestraInstance(part2, elsewhere, {"A": work}).resume_session("s", {"machine": "B"})
    assert result.branch_results["two"] == "two after one after None"
    assert calls == Counter(["one", "two", "three"])
    assert result.metadata["handoff_to"] == "machine_b"
    assert (await elsewhere.get_session_state("s")).branch("three").parent_ids == ["one"]


async def test_another_manager_cannot_pause_what_is_completed(
    manager: StateManager, elsewhere: StateManager
) -> None:
    await OrchestraInstance(Topology([Node("n", ["A"])]), manager, {"A": str}).execute("t", S)
    with pytest.raises(TransitionError, match="completed"):
        await elsewhere.pause_execution("s")


async def test_a_fan_out_at_run_time_is_resumed_half_way(
    manager: StateManager, elsewhere: StateManager
) -> None:
    calls: Counter[Any] = Counter()
    asked = [1, 2, 3]

    async def split(request: Any, context: Any) -> Any:
        calls["split"] += 1
        return await context.invoke([("W", n) for n in asked], limit=1)

    async def work(request: Any, context: Any) -> int:
        calls[request] += 1
        if request == 2 and context.attempt == 1:
            await context.request_pause()
        return request * 10

    topology = Topology([Node("n", ["S"])])
    agents = {"S": split, "W": work}
    assert (await OrchestraInstance(topology, manager, agents).execute("t", S)).status == "paused"
    assert calls == Counter({"split": 1, 1: 1, 2: 1})
    asked = [1, 2, 4]
    result = await OrchestraInstance(topology, elsewhere, agents).resume_session("s")
    assert result.final_response == [10, 20, 40]
    assert calls == Counter({"split": 2, 1: 1, 2: 1, 4: 1})
    step = (await manager.get_session_state("s")).branch("n").steps[0]
    assert (step.attempt, step.output) == (2, [10, 20, 40])


async def test_a_plain_function_that_waits_for_others_is_unwound_by_a_pause(manager: StateManager) -> None:
    attempts = []

    def split(request: Any, context: Any) -> Any:
        attempts.append(context.attempt)
        try:
            return context.invoke([("W", 1), ("W", 2)], limit=1)
        except Exception as error:
            raise AssertionError("a pause is no error") from error

    def work(request: int, context: Any) -> int:
        if context.attempt == 1 and request == 1:
            context.request_pause()
        return request

    topology = Topology([Node("n", ["S"])])
    orchestra = OrchestraInstance(topology, manager, {"S": split, "W": work})
    assert (await orchestra.execute("t", S)).status == "paused"
    assert (await orchestra.resume_session("s")).final_response == [1, 2]
    assert attempts == [1, 2]


async def test_of_two_resumes_at_once_one_wins(manager: StateManager, elsewhere: StateManager) -> None:
    gated = Gated(1)
    await manager.create_session("s")
    gated_topology = Topology([Node("n", ["A"])])
    both = [
        asyncio.create_task(OrchestraInstance(gated_topology, m, {"A": gated}).resume_session("s"))
        for m in (manager, elsewhere)
    ]
    done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    [loser] = done
    holder = (await manager.get_head("s")).owner
    with pytest.raises(LeaseHeld, match=f"held by '{holder}'"):
        loser.result()
    gated.gate.set()
    [winner] = set(both) - done
    assert (await winner).success
    assert set(gated.done.values()) == {1}


# Cancelling


async def test_a_cancellation_takes_effect_at_the_step_boundary(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gated = Gated()
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1", "all.B:1", "all.C:1")
    await elsewhere.cancel_execution("s", reason="not needed")
    gated.gate.set()
    result = await running
    assert (result.status, result.error) == ("cancelled", "not needed")
    assert set(gated.done) <= {f"all.{n}:{step}" for n in "ABC" for step in (1, 2)}
    state = await manager.get_session_state("s")
    assert {branch.status for branch in state.branches} == {"cancelled"}
    with pytest.raises(TransitionError, match="cancelled"):
        await parallel(gated, manager).resume_session("s")


async def test_a_stopped_program_leaves_its_session_interrupted(manager: StateManager) -> None:
    gated = Gated()
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1", "all.B:1", "all.C:1")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED
    assert not gated.done
    gated.gate.set()
    assert (await parallel(gated, manager).resume_session("s")).success
    assert gated.began["all.A:1"] == 2
    assert gated.done["all.A:1"] == 1


async def test_who_lost_the_lease_stops_at_once(store: StorageBackend) -> None:
    manager = StateManager(store, config=replace(QUICK, lease_ttl=3))
    gated = Gated()
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1")
    head = await store.head("s")
    await store.release("s", head.fence)
    await store.acquire("s", "somebody else", 60)
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(30):
            await running
    assert not gated.done


# Restoring


async def test_a_restore_goes_back_and_runs_from_there(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gated = Gated(4)
    topology = Topology([Node("n", ["A"])])
    orchestra = OrchestraInstance(topology, manager, {"A": gated})
    place: list[str] = []

    async def mark(request: Any, context: Any) -> Any:
        if context.step_id == "n:2" and not place:
            place.append(await context.checkpoint("in the second"))
        return await gated(request, context)

    orchestra = OrchestraInstance(topology, manager, {"A": mark})
    gated.gate.set()
    assert (await orchestra.execute("t", S)).success
    state = await orchestra.restore_checkpoint(place[0])
    assert state.status == SessionStatus.PAUSED
    assert [step.step_id for step in state.branch("n").steps] == ["n:1", "n:2"]
    result = await OrchestraInstance(topology, elsewhere, {"A": gated}).resume_session("s")
    assert result.success
    assert gated.done == Counter({"n:1": 1, "n:2": 2, "n:3": 2, "n:4": 2})


async def test_a_restore_while_it_runs_stops_it_at_the_boundary(
    manager: StateManager, elsewhere: StateManager
) -> None:
    gated = Gated(2)
    running = asyncio.create_task(parallel(gated, manager).execute("t", S))
    await gated.reaches("all.A:1")
    place = await elsewhere.create_checkpoint("s", "here")
    gated.gate.set()
    gated.gate = asyncio.Event()
    await gated.reaches("all.A:2", "all.B:2", "all.C:2")
    assert (await elsewhere.restore_checkpoint(place)).status == SessionStatus.PAUSING
    gated.gate.set()
    result = await running
    assert result.status == "paused"
    state = await elsewhere.get_session_state("s")
    assert all(len(branch.steps) <= 1 for branch in state.branches)
    assert (await parallel(gated, elsewhere).resume_session("s")).success


# Retries


async def test_a_pause_does_not_wait_for_a_back_off(manager: StateManager, elsewhere: StateManager) -> None:
    failed = asyncio.Event()

    attempts = []

    async def flaky(request: Any, context: Any) -> str:
        attempts.append(context.attempt)
        if context.attempt == 1:
            failed.set()
            raise ConnectionError
        return "better"

    topology = Topology([Node("n", ["A"])])
    orchestra = OrchestraInstance(topology, manager, {"A": flaky}, max_attempts=3, backoff=60, backoff_max=60)
    running = asyncio.create_task(orchestra.execute("t", S))
    await failed.wait()
    await elsewhere.pause_execution("s")
    async with asyncio.timeout(30):
        assert (await running).status == "paused"
    assert attempts == [1]
    assert (await orchestra.resume_session("s")).final_response == "better"
    assert attempts == [1, 2]


# Asking


ASKING = Topology([Node("n", ["A"])])


def asking(manager: StateManager, **options: Any) -> OrchestraInstance:
    async def ask(request: Any, context: Any) -> Any:
        first = await context.ask("Which?", choices=["left", "right"])
        second = await context.ask("How many?", schema={"type": "integer"})
        return [first, second, context.attempt]

    return OrchestraInstance(ASKING, manager, {"A": ask}, **options)


async def test_a_question_waits_for_a_person(manager: StateManager, elsewhere: StateManager) -> None:
    running = asyncio.create_task(asking(manager, step_timeout=0.3).execute("t", S))
    await reaches(elsewhere, "s", SessionStatus.WAITING)
    await asyncio.sleep(0.5)
    with pytest.raises(InvalidValue, match="not one of the choices"):
        await elsewhere.answer("s", "n:1.q1", "up")
    await elsewhere.answer("s", "n:1.q1", "left", actor="ann")

    async def second_is_open() -> bool:
        return "n:1.q2" in {q.question_id for q in (await elsewhere.get_session_state("s")).questions}

    await eventually(second_is_open)
    with pytest.raises(InvalidValue, match="integer"):
        await elsewhere.answer("s", "n:1.q2", "three")
    await elsewhere.answer("s", "n:1.q2", 3)
    assert (await running).final_response == ["left", 3, 1]
    first = (await elsewhere.get_session_state("s")).questions[0]
    assert (first.answered_by, first.status, first.choices) == ("ann", "answered", ["left", "right"])


async def test_a_session_that_waits_can_be_paused_and_answered_while_nobody_runs_it(
    manager: StateManager, elsewhere: StateManager
) -> None:
    running = asyncio.create_task(asking(manager).execute("t", S))
    await reaches(elsewhere, "s", SessionStatus.WAITING)
    await elsewhere.pause_execution("s")
    assert (await running).status == "paused"
    await elsewhere.answer("s", "n:1.q1", "right")
    running = asyncio.create_task(asking(elsewhere).resume_session("s"))
    await reaches(manager, "s", SessionStatus.WAITING)
    assert (await manager.get_head("s")).counts["questions"] == 1
    await manager.answer("s", "n:1.q2", 1)
    assert (await running).final_response == ["right", 1, 2]


async def test_a_resumed_session_whose_question_is_open_waits_again(
    manager: StateManager, elsewhere: StateManager
) -> None:
    running = asyncio.create_task(asking(manager).execute("t", S))
    await reaches(elsewhere, "s", SessionStatus.WAITING)
    await elsewhere.pause_execution("s")
    await running
    running = asyncio.create_task(asking(elsewhere).resume_session("s"))
    await reaches(manager, "s", SessionStatus.WAITING)
    assert (await manager.get_session_state("s")).branch("n").status == "waiting"
    await manager.cancel_execution("s")
    assert (await running).status == "cancelled"


async def test_branches_ask_at_the_same_time(manager: StateManager, elsewhere: StateManager) -> None:
    async def ask(request: Any, context: Any) -> Any:
        return await context.ask("?")

    orchestra = OrchestraInstance(Topology([Node("n", ["A", "A"])]), manager, {"A": ask})
    running = asyncio.create_task(orchestra.execute("t", S))

    async def both_ask() -> bool:
        return (await elsewhere.get_head("s")).counts["questions"] == 2

    await eventually(both_ask)
    await elsewhere.answer("s", "n.A:1.q1", 1)
    assert (await elsewhere.get_head("s")).status == SessionStatus.WAITING
    await elsewhere.answer("s", "n.A-2:1.q1", 2)
    assert (await running).final_response == {"n.A": 1, "n.A-2": 2}
