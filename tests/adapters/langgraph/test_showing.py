"""What people see of a thread: the same session as any other, whoever runs the graph."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.types import ERROR
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from state_core import StateManager, StateManagerConfig, StorageBackend
from state_core.adapters.langgraph import StateCoreSaver
from state_core.exceptions import TransitionError
from state_core.records import SessionState
from tests.adapters.langgraph.graphs import config, survey, talk
from tests.orchestra.conftest import eventually


class Count(TypedDict, total=False):
    number: int


@pytest.fixture
def saver(storage: StorageBackend) -> StateCoreSaver:
    return StateCoreSaver(storage, workflow="tides")


def seen(saver: StateCoreSaver) -> SessionState:
    state: SessionState = saver.state_manager.sync.get_session_state("thread")
    return state


def test_namespaces_are_branches_tasks_steps_and_interrupts_questions(
    saver: StateCoreSaver,
) -> None:
    graph = survey(saver)
    graph.invoke({"topic": "tides"}, config(), durability="sync")
    state = seen(saver)
    assert state.status == "waiting"
    root, *parts = state.branches
    assert [step.agent for step in root.steps] == ["plan", "research", "research", "review"]
    assert [step.status for step in root.steps] == ["completed"] * 3 + ["running"]
    assert root.steps[0].output == {"notes": {"topic": "tides", "plan": ["moon", "sun"]}}
    assert {(b.name, b.parent_id, str(b.status)) for b in parts} == {
        ("research", root.branch_id, "completed")
    }
    assert [[step.agent for step in part.steps] for part in parts] == [["read", "sum_up"]] * 2
    assert {part.memory[0].content for part in parts} == {"read moon", "read sun"}
    assert {part.memory[0].agent for part in parts} == {"read"}
    (question,) = state.questions
    assert (question.prompt, question.agent, question.status) == ("Publish?", "review", "open")

    graph.invoke(Command(resume="yes"), config(), durability="sync")
    state = seen(saver)
    assert state.status == "completed"
    assert [(q.status, q.answer) for q in state.questions] == [("answered", "yes")]
    assert {str(step.status) for branch in state.branches for step in branch.steps} == {"completed"}
    head = saver.state_manager.sync.get_head("thread")
    assert head.counts["branches"] == head.counts["branches_ended"] == 3
    assert (head.workflow, head.title, head.counts["questions"]) == ("tides", "thread", 0)


def test_messages_follow_the_channel_through_removals_and_edits(saver: StateCoreSaver) -> None:
    graph = talk(saver)
    for text in ("hello", "and then?", "forget", "edit", "bye"):
        graph.invoke({"messages": [HumanMessage(text)]}, config(), durability="sync")
        channel = graph.get_state(config()).values["messages"]
        (branch,) = seen(saver).branches
        assert [message.content for message in branch.memory] == [message.content for message in channel]
    assert {message.role for message in branch.memory} == {"user", "assistant"}
    assert saver.state_manager.sync.get_head("thread").counts["messages"] == len(channel)


@pytest.mark.parametrize(
    "made", [lambda text: ("ai", text), lambda text: {"role": "assistant", "content": text}, AIMessage]
)
def test_a_message_in_any_form_is_shown_once_by_who_said_it(saver: StateCoreSaver, made: Any) -> None:
    answers = iter(["First. " * 20, "Second. " * 20])
    builder = StateGraph(MessagesState)
    builder.add_node("chat", lambda state: {"messages": [made(next(answers))]})
    builder.add_edge(START, "chat")
    graph = builder.compile(checkpointer=saver)
    for text in ("hello", "and then?"):
        graph.invoke({"messages": [HumanMessage(text)]}, config(), durability="sync")
    (branch,) = seen(saver).branches
    assert [message.content for message in branch.memory] == [
        message.content for message in graph.get_state(config()).values["messages"]
    ]
    assert [message.role for message in branch.memory] == ["user", "assistant"] * 2
    assert branch.memory[-1].agent == "chat"


def test_saved_at_its_exit_alone_a_run_is_completed_with_its_branch(saver: StateCoreSaver) -> None:
    graph = talk(saver)
    graph.invoke({"messages": [HumanMessage("hello")]}, config(), durability="exit")
    state = seen(saver)
    assert (state.status, state.branches[0].status, len(state.branches[0].memory)) == (
        "completed",
        "completed",
        2,
    )
    assert saver.state_manager.sync.get_head("thread").counts["branches_ended"] == 1


def test_a_task_that_is_cancelled_leaves_an_interrupted_session_and_the_next_run_goes_on(
    saver: StateCoreSaver,
) -> None:
    builder = StateGraph(Count)
    builder.add_node("slow", lambda state: {"number": 7})
    builder.add_edge(START, "slow")
    graph = builder.compile(checkpointer=saver, interrupt_before=["slow"])
    graph.invoke({"number": 1}, config(), durability="sync")
    found = saver.get_tuple(config())
    assert found
    saver.put_writes(found.config, [(ERROR, asyncio.CancelledError())], "task-1", "~__pregel_pull, slow")
    state = seen(saver)
    assert (state.status, state.branches[0].steps[0].status) == ("interrupted", "failed")
    assert graph.invoke(None, config(), durability="sync")["number"] == 7
    assert seen(saver).status == "completed"


async def test_a_run_of_which_nothing_is_heard_any_more_is_interrupted_until_something_comes(
    storage: StorageBackend,
) -> None:
    builder = StateGraph(Count)
    builder.add_node("slow", lambda state: {"number": 7})
    builder.add_edge(START, "slow")
    graph = builder.compile(checkpointer=StateCoreSaver(storage), interrupt_before=["slow"])
    await graph.ainvoke({"number": 1}, config(), durability="sync")
    assert await StateManager(storage).interrupt_expired() == []
    watcher = StateManager(storage, config=StateManagerConfig(recorded_silence=0.05))

    async def interrupted() -> list[str]:
        return await watcher.interrupt_expired()

    await eventually(interrupted, within=30)
    state = await watcher.get_session_state("thread")
    assert state.status == "interrupted"
    (told,) = await watcher.log.read("thread", newest_first=True, limit=1)
    assert told.data["reason"].startswith("nothing was recorded of it since 20")
    with pytest.raises(TransitionError, match="recorded from outside"):
        await watcher.resume_execution("thread")
    await graph.ainvoke(None, config(), durability="sync")
    assert (await watcher.get_head("thread")).status == "completed"


def test_a_node_that_fails_is_a_failed_step_and_the_next_run_tries_again(saver: StateCoreSaver) -> None:
    class State(TypedDict, total=False):
        tries: int

    fails = [True]

    def shaky(state: State) -> State:
        if fails.pop():
            raise ValueError("the tide is out")
        return {"tries": 2}

    builder = StateGraph(State)
    builder.add_node("shaky", shaky)
    builder.add_edge(START, "shaky")
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(ValueError, match="tide"):
        graph.invoke({"tries": 1}, config(), durability="sync")
    state = seen(saver)
    assert (state.status, state.branches[0].status) == ("failed", "failed")
    assert "the tide is out" in str(state.branches[0].steps[0].error)
    assert "the tide is out" in str(state.error)

    fails.append(False)
    graph.invoke(None, config(), durability="sync")
    state = seen(saver)
    assert state.status == "completed"
    assert [(str(step.status), step.attempt) for step in state.branches[0].steps] == [("completed", 2)]


def test_what_nobody_carries_out_is_refused_with_the_reason(saver: StateCoreSaver) -> None:
    survey(saver).invoke({"topic": "tides"}, config())
    manager = saver.state_manager.sync
    (question,) = seen(saver).questions
    for act in (
        lambda: manager.pause_execution("thread"),
        lambda: manager.answer("thread", question.question_id, "yes"),
    ):
        with pytest.raises(TransitionError, match="does not take this command"):
            act()


def test_what_a_graph_says_is_text_and_what_is_large_is_named(saver: StateCoreSaver) -> None:
    class State(TypedDict, total=False):
        page: str
        many: list[int]

    builder = StateGraph(State)
    builder.add_node("<b>node</b>", lambda state: {"page": "<script>" * 10, "many": list(range(5000))})
    builder.add_edge(START, "<b>node</b>")
    builder.compile(checkpointer=saver).invoke({"page": ""}, config())
    (step,) = seen(saver).branches[0].steps
    assert step.agent == "<b>node</b>"
    assert step.step_id.startswith("-b-node--b-.")
    output: Any = step.output
    assert output["page"] == "<script>" * 10
    assert output["many"].endswith("bytes")


def test_restored_under_a_run_the_run_is_told(saver: StateCoreSaver) -> None:
    from state_core.exceptions import ConflictError

    graph = talk(saver)
    graph.invoke({"messages": [HumanMessage("one")]}, config(), durability="sync")
    read = saver.get_tuple(config())
    checkpoint_id = saver.state_manager.sync.create_checkpoint("thread")
    saver.state_manager.sync.restore_checkpoint(checkpoint_id)
    assert read is not None
    with pytest.raises(ConflictError):
        saver.put_writes(read.config, [("messages", [])], "task")
