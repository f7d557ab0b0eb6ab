"""Graphs for the tests, and a saver that holds ours against the framework's own in memory."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt

from state_core.adapters.langgraph import StateCoreSaver


def config(thread_id: str = "thread", **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id, **more}}


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def talk(saver: Any) -> Any:
    """Answers each message. "forget" removes the second message, "edit" rewrites the first."""

    def chat(state: Talk) -> dict[str, Any]:
        said = state["messages"][-1].content
        answer: list[Any] = [AIMessage(f"{said}, you say? {'Well. ' * 30}")]
        if said == "forget":
            answer.append(RemoveMessage(id=state["messages"][1].id))
        if said == "edit":
            answer.append(HumanMessage("edited", id=state["messages"][0].id))
        return {"messages": answer}

    builder = StateGraph(Talk)
    builder.add_node("chat", chat)
    builder.add_edge(START, "chat")
    return builder.compile(checkpointer=saver)


class Survey(TypedDict, total=False):
    topic: str
    parts: Annotated[list[str], operator.add]
    notes: dict[str, Any]
    approved: str
    messages: Annotated[list[AnyMessage], add_messages]


class Part(TypedDict, total=False):
    name: str
    parts: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def survey(saver: Any) -> Any:
    """Fans out to a subgraph for each part, asks a person, and writes up what came of it."""
    inner = StateGraph(Part)
    inner.add_node("read", lambda state: {"messages": [AIMessage(f"read {state['name']}")]})
    inner.add_node("sum_up", lambda state: {"parts": [state["name"].upper()]})
    inner.add_edge(START, "read")
    inner.add_edge("read", "sum_up")

    outer = StateGraph(Survey)
    outer.add_node("plan", lambda state: {"notes": {"topic": state["topic"], "plan": ["moon", "sun"]}})
    outer.add_node("research", inner.compile())
    outer.add_node("review", lambda state: {"approved": interrupt({"question": "Publish?", "parts": 2})})
    outer.add_node("write", lambda state: {"notes": {**state["notes"], "said": state["approved"]}})
    outer.add_edge(START, "plan")
    outer.add_conditional_edges(
        "plan", lambda state: [Send("research", {"name": name}) for name in state["notes"]["plan"]]
    )
    outer.add_edge("research", "review")
    outer.add_edge("review", "write")
    outer.add_edge("write", END)
    return outer.compile(checkpointer=saver)


class Compared(InMemorySaver):
    """Writes to both, and compares whatever is read."""

    def __init__(self, ours: StateCoreSaver) -> None:
        super().__init__()
        self.ours = ours
        self.compared = 0

    def get_next_version(self, current: Any, channel: Any) -> str:
        return self.ours.get_next_version(current, None)

    def get_tuple(self, config: Any) -> Any:
        ours, theirs = self.ours.get_tuple(config), super().get_tuple(config)
        self._compare(ours, theirs)
        return ours

    def list(self, config: Any, **conditions: Any) -> Iterator[Any]:
        ours, theirs = list(self.ours.list(config, **conditions)), list(super().list(config, **conditions))
        theirs.sort(key=lambda found: found.checkpoint["id"], reverse=True)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            self._compare(one, other)
        yield from ours

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        checkpoint = deepcopy(checkpoint)
        self.ours.put(config, checkpoint, metadata, new_versions)
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(self, config: Any, writes: Sequence[Any], task_id: str, task_path: str = "") -> None:
        # The framework gives messages their ids in place, meanwhile: both are to see the same.
        writes = deepcopy(writes)
        self.ours.put_writes(config, writes, task_id, task_path)
        super().put_writes(config, writes, task_id, task_path)

    def get_delta_channel_history(self, *, config: Any, channels: Sequence[str]) -> Mapping[str, Any]:
        ours = self.ours.get_delta_channel_history(config=config, channels=channels)
        assert ours == super().get_delta_channel_history(config=config, channels=channels)
        return ours

    def _compare(self, ours: Any, theirs: Any) -> None:
        self.compared += 1
        if theirs is None:
            assert ours is None
            return
        assert ours.checkpoint == theirs.checkpoint
        for name, value in theirs.checkpoint["channel_values"].items():
            found = ours.checkpoint["channel_values"][name]
            assert type(found) is type(value)
            if isinstance(value, dict):
                assert list(found) == list(value), "in the same order"
        assert ours.metadata == theirs.metadata
        assert ours.pending_writes == theirs.pending_writes
        assert _place(ours.config) == _place(theirs.config)
        assert (ours.parent_config or {}) == (theirs.parent_config or {})


def _place(found: Any) -> dict[str, Any]:
    names = ("thread_id", "checkpoint_ns", "checkpoint_id")
    return {name: found["configurable"].get(name) for name in names}


class Approval(TypedDict, total=False):
    draft: str
    published: str


def approval() -> StateGraph[Any, Any, Any, Any]:
    """Drafts, and stops before it publishes."""
    builder = StateGraph(Approval)
    builder.add_node("write", lambda state: {"draft": "tides"})
    builder.add_node("publish", lambda state: {"published": state["draft"].upper()})
    builder.add_edge(START, "write")
    builder.add_edge("write", "publish")
    return builder


APPROVAL = approval()
GRAPHS = {"approval": APPROVAL, "compiled": APPROVAL.compile()}
