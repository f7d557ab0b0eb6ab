"""What a workflow does when nothing interrupts it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from state_core import BranchStatus, SessionStatus, StateManager
from state_core.events import EventKind
from state_core.exceptions import (
    AgentNotFound,
    ConfigurationError,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    OrchestraError,
    SessionNotFound,
    StepTimeout,
    TopologyError,
    TransitionError,
)
from state_core.orchestra import Again, Handoff, Node, Orchestra, OrchestraInstance, PatternConfig, Topology
from state_core.orchestra.agents import agent, handed_on, recorded
from tests.orchestra.conftest import eventually

ONE = Topology([Node("one", ["A"])])


async def echo(request: Any, context: Any) -> str:
    return f"{context.agent}({request})"


def run_one(function: Any, manager: StateManager, **options: Any) -> Any:
    return Orchestra.run("task", ONE, manager, {"session_id": "s"}, {"A": function}, **options)


async def test_a_workflow_without_a_manager_runs_in_memory() -> None:
    result = await Orchestra.run("task", ONE, agents={"A": echo})
    assert result.success
    assert result.final_response == "A(task)"
    assert result.branch_results == {"one": "A(task)"}
    assert result.total_steps == 1
    assert result.duration > 0
    assert result.error is None


async def test_each_node_is_asked_for_what_those_before_it_answered(manager: StateManager) -> None:
    topology = Topology(
        [
            Node("a", ["A"]),
            Node("b", ["B", "C"], ["a"]),
            Node("d", ["D"], ["b"]),
            Node("e", ["E"], ["d", "a"]),
        ]
    )
    seen = {}

    async def watch(request: Any, context: Any) -> str:
        seen[context.agent] = request
        return context.agent.lower()

    result = await Orchestra.run("task", topology, manager, agents=dict.fromkeys("ABCDE", watch))
    assert seen == {"A": "task", "B": "a", "C": "a", "D": {"b.B": "b", "b.C": "c"}, "E": {"d": "d", "a": "a"}}
    assert result.final_response == "e"


async def test_several_ends_are_named(manager: StateManager) -> None:
    topology = PatternConfig.fan_out("A", ["B", "C"])
    result = await Orchestra.run(1, topology, manager, agents=dict.fromkeys("ABC", echo))
    assert result.final_response == {"B": "B(A(1))", "C": "C(A(1))"}


async def test_branches_run_at_the_same_time(manager: StateManager) -> None:
    together = asyncio.Barrier(3)

    async def meet(request: Any) -> None:
        await together.wait()

    topology = Topology([Node("all", ["A", "B", "C"])])
    async with asyncio.timeout(30):
        assert (await Orchestra.run("", topology, manager, agents=dict.fromkeys("ABC", meet))).success


async def test_the_log_tells_of_the_join(manager: StateManager) -> None:
    topology = PatternConfig.fan_out("A", ["B", "C"], "D")
    await Orchestra.run("", topology, manager, {"session_id": "s"}, dict.fromkeys("ABCD", echo))
    events = await manager.log.read("s", branch_id="D")
    assert [e.kind for e in events[:3]] == ["branch.opened", "branch.joined", "branch.joined"]
    assert [e.status for e in events[:3]] == ["waiting", "waiting", "running"]
    state = await manager.get_session_state("s")
    assert sorted(state.branch("D").joined_ids) == ["B", "C"]
    assert {b.status for b in state.branches} == {BranchStatus.COMPLETED}
    assert state.branch("B").branch_type == "parallel"


async def test_requests_and_responses_are_messages_of_the_branch(manager: StateManager) -> None:
    async def speak(request: Any, context: Any) -> str:
        await context.say("thinking", thought=True)
        assert [m.content for m in context.history] == ["task", "thinking"]
        return "done"

    await run_one(speak, manager)
    memory = (await manager.get_session_state("s")).branch("one").memory
    assert [(m.role, m.content) for m in memory] == [
        ("user", "task"),
        ("assistant", "thinking"),
        ("assistant", "done"),
    ]
    assert memory[1].metadata == {"thought": True}


async def test_an_agent_remembers_across_branches(manager: StateManager) -> None:
    async def recall(request: Any, context: Any) -> list[Any]:
        before = [message.content for message in context.memory]
        await context.remember(f"saw {request}")
        return before

    topology = Topology([Node("first", ["A"]), Node("second", ["A"], ["first"])])
    result = await Orchestra.run("task", topology, manager, agents={"A": recall})
    assert result.branch_results == {"first": [], "second": ["saw task"]}


async def test_the_context_is_a_mapping_that_is_saved(manager: StateManager) -> None:
    async def count(request: Any, context: Any) -> None:
        context["count"] = context.get("count", 0) + 1
        del context["gone"]
        context.metadata["needs_review"] = True
        await context.set_result("half", 5)

    result = await Orchestra.run("t", ONE, manager, {"session_id": "s", "count": 6, "gone": 1}, {"A": count})
    assert result.metadata.get("needs_review") is True
    state = await manager.get_session_state("s")
    assert state.context == result.context == {"session_id": "s", "count": 7}
    assert state.intermediate_results["half"] == 5


async def test_branches_that_change_the_context_together_change_it_once(manager: StateManager) -> None:
    async def add(request: Any, context: Any) -> None:
        context["list"].append(context.branch_id)
        context.pop("gone", None)

    topology = Topology([Node("all", ["A"] * 20)])
    given = {"session_id": "s", "list": [], "gone": 1}
    result = await Orchestra.run("t", topology, manager, given, {"A": add})
    assert len(result.context["list"]) == 20
    assert len(set(result.context["list"])) == 20


async def test_the_context_says_where_the_agent_is(manager: StateManager) -> None:
    async def look(request: Any, context: Any) -> dict[str, Any]:
        names = ("session_id", "branch_id", "step_id", "attempt", "agent", "task", "previous")
        return {name: getattr(context, name) for name in names}

    assert (await run_one(look, manager)).final_response == {
        "session_id": "s",
        "branch_id": "one",
        "step_id": "one:1",
        "attempt": 1,
        "agent": "A",
        "task": "task",
        "previous": None,
    }


# Kinds of agents


async def test_a_plain_function_works_in_a_thread_with_ordinary_methods(manager: StateManager) -> None:
    def plain(request: Any, context: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        context["seen"] = len(context)
        context.say("hello")
        context.remember("that")
        return [context.invoke([("B", 1), ("B", 2)]), [m.content for m in context.memory], "seen" in context]

    agents = {"A": plain, "B": lambda request: request * 10}
    result = await Orchestra.run("t", ONE, manager, {"session_id": "s"}, agents)
    assert result.final_response == [[10, 20], ["that"], True]


async def test_many_plain_functions_that_wait_for_others_do_not_starve_them(manager: StateManager) -> None:
    agents = {"A": lambda request, context: context.invoke([("B", 1)]), "B": lambda request: request}
    topology = Topology([Node("all", ["A"] * 30)])
    async with asyncio.timeout(20):
        assert (await Orchestra.run("t", topology, manager, agents=agents)).success


async def test_an_object_can_be_an_agent(manager: StateManager) -> None:
    class Caller:
        async def __call__(self, request: Any) -> str:
            return f"called with {request}"

    assert (await run_one(Caller(), manager)).final_response == "called with task"


async def test_a_second_argument_with_a_default_is_not_the_context(manager: StateManager) -> None:
    assert (await run_one(lambda request, name="own": name, manager)).final_response == "own"
    agents = {"A": lambda request, context=None: context.agent}
    assert (await Orchestra.run("t", ONE, manager, agents=agents)).final_response == "A"
    agents = {"A": lambda *args: args[1].agent}
    assert (await Orchestra.run("t", ONE, manager, agents=agents)).final_response == "A"


async def test_an_agent_can_be_registered_by_name(manager: StateManager) -> None:
    @agent("Registered for a test")
    async def registered(request: Any) -> str:
        return "found"

    topology = Topology([Node("n", ["Registered for a test"])])
    assert (await Orchestra.run("t", topology, manager)).final_response == "found"


async def test_an_unknown_agent_is_found_before_anything_runs(manager: StateManager) -> None:
    topology = Topology([Node("a", ["A"]), Node("b", ["Nobody"], ["a"])])
    with pytest.raises(AgentNotFound, match="agents=.*Nobody"):
        await Orchestra.run("t", topology, manager, {"session_id": "s"}, {"A": echo})
    with pytest.raises(SessionNotFound):
        await manager.get_head("s")


@pytest.mark.parametrize("wrong", [lambda: 1, lambda a, b, c: 1, "name"])
def test_what_cannot_be_called_so_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="'A'"):
        OrchestraInstance(ONE, agents={"A": wrong})


async def test_stop_iteration_does_not_hang(manager: StateManager) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await run_one(lambda request: next(iter([])), manager)


# Lines of several steps


async def test_a_branch_can_be_a_line_of_many_steps(manager: StateManager) -> None:
    async def count(request: Any, context: Any) -> Any:
        number = request if isinstance(request, int) else 0
        return Again(number + 1) if number < 3 else Handoff("B", number)

    result = await run_one_of({"A": count, "B": echo}, manager)
    assert result.final_response == "B(3)"
    steps = (await manager.get_session_state("s")).branch("one").steps
    assert [(s.step_id, s.agent) for s in steps] == [
        ("one:1", "A"),
        ("one:2", "A"),
        ("one:3", "A"),
        ("one:4", "A"),
        ("one:5", "B"),
    ]
    assert result.branch_results == {"one": "B(3)"}


def run_one_of(agents: dict[str, Any], manager: StateManager) -> Any:
    return Orchestra.run("task", ONE, manager, {"session_id": "s"}, agents)


async def test_a_response_cannot_pretend_to_be_a_handoff(manager: StateManager) -> None:
    with pytest.raises(InvalidValue, match="Again or Handoff"):
        await run_one(lambda request: {"$next": {"agent": "A", "request": 1}}, manager)


def test_an_output_tells_whom_it_was_handed_on_to_whoever_recorded_it() -> None:
    assert handed_on(recorded(Again({"page": 2}), "Reader")) == Handoff("Reader", {"page": 2})
    assert handed_on(recorded("done", "Reader")) is None
    for odd in (
        {"$next": 5},
        {"$next": {"agent": 5, "request": 1}},
        {"$next": {"agent": "A"}},
        {"$next": {}, "a": 1},
    ):
        assert handed_on(odd) is None


async def test_a_handoff_to_nobody_fails(manager: StateManager) -> None:
    with pytest.raises(AgentNotFound, match="Nobody"):
        await run_one(lambda request: Handoff("Nobody"), manager)
    assert (await manager.get_head("s")).status == SessionStatus.FAILED


# Fan-out at run time


async def test_invoked_agents_run_together_and_answer_in_order(manager: StateManager) -> None:
    together = asyncio.Barrier(3)

    async def split(request: Any, context: Any) -> Any:
        return await context.invoke([("B", 3), ("B", 1, "the small one"), ("B", 2)])

    async def meet(request: Any) -> Any:
        await together.wait()
        return request

    async with asyncio.timeout(30):
        result = await run_one_of({"A": split, "B": meet}, manager)
    assert result.final_response == [3, 1, 2]
    state = await manager.get_session_state("s")
    nested = [b for b in state.branches if b.branch_type == "nested"]
    assert [b.parent_id for b in nested] == ["one"] * 3
    assert {b.name for b in nested} == {"B", "the small one"}
    assert set(state.branch("one").joined_ids) == {b.branch_id for b in nested}


async def test_the_same_asked_twice_is_two_branches(manager: StateManager) -> None:
    result = await run_one_of(
        {"A": lambda r, context: context.invoke([("B", 1), ("B", 1)]), "B": lambda r: r}, manager
    )
    assert result.final_response == [1, 1]
    assert len(result.branch_results) == 3


async def test_at_most_so_many_at_once(manager: StateManager) -> None:
    at_work, most = 0, 0

    async def work(request: Any) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    async def split(request: Any, context: Any) -> Any:
        return await context.invoke([("B", n) for n in range(10)], limit=3)

    await run_one_of({"A": split, "B": work}, manager)
    assert most == 3


async def test_nested_agents_invoke_others(manager: StateManager) -> None:
    async def deep(request: int, context: Any) -> Any:
        return 1 if request == 0 else sum(await context.invoke([("A", request - 1), ("A", request - 1)]))

    result = await Orchestra.run(3, ONE, manager, agents={"A": deep})
    assert result.final_response == 8
    assert result.total_steps == 15


async def test_an_invoked_error_is_raised_when_the_others_are_done(manager: StateManager) -> None:
    done = []

    async def work(request: Any) -> str:
        if request == 0:
            raise LookupError("number 0")
        await asyncio.sleep(0.05)
        done.append(request)
        return "ok"

    async def split(request: Any, context: Any) -> Any:
        with pytest.raises(LookupError, match="number 0"):
            await context.invoke([("B", 0), ("B", 1)])
        assert done == [1]
        found = await context.invoke([("B", 0), ("B", 2)], return_exceptions=True)
        return [str(answer) for answer in found]

    result = await run_one_of({"A": split, "B": work}, manager)
    assert result.final_response == ["number 0", "ok"]


async def test_what_an_agent_no_longer_waits_for_is_cut_off(manager: StateManager) -> None:
    async def impatient(request: Any, context: Any) -> str:
        try:
            async with asyncio.timeout(0.05):
                await context.invoke([("B", 1), ("C", 2)])
        except TimeoutError:
            return "without them"
        return "with them"

    async def deep(request: Any, context: Any) -> Any:
        return await context.invoke([("B", 3)])

    agents = {"A": impatient, "B": lambda request: asyncio.sleep(3600), "C": deep}
    result = await run_one_of(agents, manager)
    assert result.final_response == "without them"
    state = await manager.get_session_state("s")
    nested = [branch for branch in state.branches if branch.branch_type == "nested"]
    assert [branch.status for branch in nested] == [BranchStatus.CANCELLED] * 3
    assert {step.status for branch in nested for step in branch.steps} == {"failed"}


@pytest.mark.parametrize("call", ["AB", ("B",), ("B", 1, "name", 4)])
async def test_a_wrong_call_is_refused(call: Any, manager: StateManager) -> None:
    async def split(request: Any, context: Any) -> Any:
        await context.invoke([call])

    with pytest.raises(InvalidValue, match="name"):
        await run_one(split, manager)


async def test_an_unknown_invoked_agent_is_named(manager: StateManager) -> None:
    with pytest.raises(AgentNotFound, match="Nobody"):
        await run_one(lambda r, context: context.invoke([("Nobody", 1)]), manager)


# Errors, retries, time-outs


async def test_an_error_fails_the_session_and_is_raised_as_it_is(manager: StateManager) -> None:
    class OwnError(Exception):
        pass

    async def fail(request: Any) -> None:
        raise OwnError("no good")

    with pytest.raises(OwnError, match="no good"):
        await run_one(fail, manager)
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.FAILED
    assert "in fail\n" in state.branch("one").steps[0].error
    assert "OwnError: no good" in (await manager.get_head("s")).error


async def test_siblings_of_a_failure_finish_their_step_and_begin_no_other(manager: StateManager) -> None:
    steps = []

    async def fail(request: Any) -> None:
        raise ValueError("no")

    async def has_failed() -> bool:
        bad = (await manager.get_session_state("s")).branch("bad")
        return bool(bad) and bad.status == BranchStatus.FAILED

    async def slow(request: Any, context: Any) -> Any:
        await eventually(has_failed)
        steps.append(context.step_id)
        return Again()

    topology = Topology([Node("bad", ["F"]), Node("good", ["S"]), Node("join", ["F"], ["bad", "good"])])
    with pytest.raises(ValueError, match="no"):
        await Orchestra.run("t", topology, manager, {"session_id": "s"}, {"F": fail, "S": slow})
    assert steps == ["good:1"]
    state = await manager.get_session_state("s")
    assert state.branch("bad").status == BranchStatus.FAILED
    assert state.branch("good").status == BranchStatus.CANCELLED
    assert state.branch("good").steps[0].status == "completed"
    assert state.branch("join") is None


async def test_the_others_go_on_without_an_optional_branch(manager: StateManager) -> None:
    def fail(request: Any) -> None:
        raise ValueError("no")

    topology = Topology(
        [Node("bad", ["F"], on_error="continue"), Node("good", ["A"]), Node("join", ["J"], ["bad", "good"])]
    )
    agents = {"F": fail, "A": echo, "J": lambda request: request}
    result = await Orchestra.run("t", topology, manager, {"session_id": "s"}, agents)
    assert result.final_response == {"good": "A(t)"}
    assert (await manager.get_session_state("s")).branch("bad").status == BranchStatus.FAILED


async def test_a_step_is_retried_with_each_attempt_recorded(manager: StateManager) -> None:
    attempts = []

    async def flaky(request: Any, context: Any) -> str:
        attempts.append(context.attempt)
        if context.attempt < 3:
            raise ConnectionError(f"attempt {context.attempt}")
        return "at last"

    result = await run_one(flaky, manager, max_attempts=5, backoff=0.001)
    assert result.final_response == "at last"
    assert attempts == [1, 2, 3]
    retried = await manager.log.read("s", kinds=[EventKind.STEP_RETRIED])
    assert [e.data["error"] for e in retried] == ["ConnectionError: attempt 1", "ConnectionError: attempt 2"]
    step = (await manager.get_session_state("s")).branch("one").steps[0]
    assert (step.attempt, step.status, step.error) == (3, "completed", None)


async def test_the_last_attempt_decides(manager: StateManager) -> None:
    calls = []

    async def fail(request: Any) -> None:
        calls.append(1)
        raise ConnectionError

    topology = Topology([Node("one", ["A"], max_attempts=2)])
    with pytest.raises(ConnectionError):
        await Orchestra.run("t", topology, manager, agents={"A": fail}, max_attempts=9, backoff=0)
    assert len(calls) == 2


async def test_a_step_that_takes_too_long_is_cut_off(manager: StateManager) -> None:
    cut = []

    async def slow(request: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut.append(True)
            raise

    with pytest.raises(StepTimeout, match=r"one:1 of agent 'A' took longer than 0\.02 s"):
        await run_one(slow, manager, step_timeout=0.02)
    assert cut == [True]


async def test_an_agents_own_timeout_is_not_ours(manager: StateManager) -> None:
    async def own(request: Any) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own") as caught:
        await run_one(own, manager, step_timeout=5)
    assert not isinstance(caught.value, StepTimeout)


async def test_the_clock_stands_still_while_others_work(manager: StateManager) -> None:
    async def wait(request: Any, context: Any) -> Any:
        if context.branch_id == "one":
            return await context.invoke([("B", n) for n in range(4)], limit=1)
        await asyncio.sleep(0.1)
        return 1

    topology = Topology([Node("one", ["A"], step_timeout=0.2)])
    result = await Orchestra.run("t", topology, manager, agents={"A": wait, "B": wait})
    assert result.final_response == [1, 1, 1, 1]


async def test_an_agent_that_cancels_itself_has_failed(manager: StateManager) -> None:
    async def strange(request: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(OrchestraError, match="cancelled from inside"):
        await run_one(strange, manager)


async def test_a_context_records_nothing_after_its_step(manager: StateManager) -> None:
    kept = []

    async def keep(request: Any, context: Any) -> None:
        kept.append(context)

    await run_one(keep, manager)
    with pytest.raises(OrchestraError, match="is over"):
        await kept[0].say("late")


# What can be stored


async def test_nan_is_stored_as_none(manager: StateManager) -> None:
    assert (await run_one(lambda r: {"x": float("nan")}, manager)).final_response == {"x": None}


async def test_a_response_that_cannot_be_stored_fails_its_step_clearly(manager: StateManager) -> None:
    with pytest.raises(InvalidValue, match=r"output of A\['deep'\]\[0\] cannot be stored"):
        await run_one(lambda r: {"deep": [object()]}, manager, max_attempts=3)
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.FAILED
    assert state.branch("one").steps[0].status == "failed"
    assert state.branch("one").steps[0].attempt == 1


async def test_a_huge_response_fails_its_step_clearly(manager: StateManager) -> None:
    with pytest.raises(InvalidValue, match="MB"):
        await run_one(lambda r: "x" * 20_000_000, manager)
    state = await manager.get_session_state("s")
    assert state.branch("one").steps[0].status == "failed"


async def test_a_context_that_cannot_be_stored_fails_clearly(manager: StateManager) -> None:
    async def spoil(request: Any, context: Any) -> None:
        context["socket"] = object()

    with pytest.raises(InvalidValue, match=r"context\['socket'\] cannot be stored"):
        await run_one(spoil, manager)
    assert (await manager.get_head("s")).status == SessionStatus.FAILED


# What is refused


async def test_a_completed_session_is_not_run_again(manager: StateManager) -> None:
    await run_one(echo, manager)
    with pytest.raises(TransitionError, match="completed"):
        await run_one(echo, manager)


async def test_a_session_that_runs_is_not_run_twice(manager: StateManager) -> None:
    async with manager.session("s"):
        with pytest.raises(LeaseHeld, match="held by"):
            await run_one(echo, manager)


async def test_a_wrong_session_id_is_refused(manager: StateManager) -> None:
    with pytest.raises(InvalidId):
        await Orchestra.run("t", ONE, manager, {"session_id": "../../x"}, {"A": echo})


async def test_an_unknown_session_is_not_resumed(manager: StateManager) -> None:
    with pytest.raises(SessionNotFound):
        await OrchestraInstance(ONE, manager, {"A": echo}).resume_session("nowhere")
    with pytest.raises(SessionNotFound):
        await manager.get_head("nowhere")


async def test_without_any_topology_nothing_runs(manager: StateManager) -> None:
    orchestra = OrchestraInstance(None, manager)
    with pytest.raises(TopologyError, match="give one"):
        await orchestra.execute("t")
    await manager.create_session("bare")
    with pytest.raises(TopologyError, match="no topology stored"):
        await orchestra.resume_session("bare")


@pytest.mark.parametrize("options", [{"max_attempts": 0}, {"step_timeout": -1}, {"backoff": -1}])
def test_wrong_limits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        OrchestraInstance(ONE, **options)
