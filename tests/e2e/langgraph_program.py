"""A graph and the program that runs it: ``python -m tests.e2e.langgraph_program SESSION GATE [recorded]``.

It runs the thread by `run_session` and then works for whoever resumes it; ``recorded``, by `graph.ainvoke`.
The first node ends when there is a file GATE.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt

from state_core import DatabaseStorageBackend, StateManager
from state_core.adapters.langgraph import GraphWorker, StateCoreSaver, run_session

PACE = 0.6
"""Seconds that a node takes."""
WORKFLOW = "tide survey"
CAUSES = ("moon", "sun")


class Survey(TypedDict, total=False):
    topic: str
    parts: Annotated[list[str], operator.add]
    verdict: str
    messages: Annotated[list[AnyMessage], add_messages]


class Part(TypedDict, total=False):
    name: str
    parts: Annotated[list[str], operator.add]


async def plan(state: Survey) -> Survey:
    while not Path(sys.argv[2]).exists():
        await asyncio.sleep(0.05)
    return {"messages": [AIMessage(f"Two causes of {state['topic']} to look at.")]}


async def read(state: Part) -> Part:
    await asyncio.sleep(PACE)
    return {}


async def sum_up(state: Part) -> Part:
    return {"parts": [state["name"]]}


def review(state: Survey) -> Survey:
    verdict = interrupt({"question": "Publish the survey?", "choices": ["yes", "no"]})
    return {"verdict": verdict, "messages": [AIMessage(f"Verdict: {verdict} <b>bold</b>")]}


def builder() -> Any:
    inner = StateGraph(Part)
    inner.add_node("read", read)
    inner.add_node("sum_up", sum_up)
    inner.add_edge(START, "read")
    inner.add_edge("read", "sum_up")
    outer = StateGraph(Survey)
    outer.add_node("plan", plan)
    outer.add_node("research", inner.compile())
    outer.add_node("review", review)
    outer.add_edge(START, "plan")
    outer.add_conditional_edges(
        "plan", lambda state: [Send("research", {"name": n}) for n in ("moon", "sun")]
    )
    outer.add_edge("research", "review")
    return outer


async def main() -> None:
    manager = StateManager(DatabaseStorageBackend(os.environ["DATABASE_URL"]))
    graph = builder().compile(checkpointer=StateCoreSaver(manager), name=WORKFLOW)
    session_id, _, *recorded = sys.argv[1:]
    if recorded:
        await graph.ainvoke({"topic": "tides"}, {"configurable": {"thread_id": session_id}})
        return
    await run_session(graph, {"topic": "tides"}, thread_id=session_id)
    await GraphWorker({WORKFLOW: graph}, poll=0.1).run()


if __name__ == "__main__":
    asyncio.run(main())
