"""Agents whose answers are written down, in the place of a model."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

from marsys.agents import BaseAgent
from marsys.agents.memory import ConversationMemory, Message, ToolCallMsg
from marsys.agents.registry import AgentRegistry

TEAM = {
    "agents": ["User", "Planner", "Writer", "Editor"],
    "flows": [
        "User -> Planner",
        "Planner -> User",
        "Planner -> Writer",
        "Planner -> Editor",
        "Writer -> Planner",
        "Editor -> Planner",
    ],
    "rules": [],
}


class Scripted(BaseAgent):
    """Says what its script says next; what can be awaited or called is, first."""

    def __init__(self, name, *script, tools=None):
        super().__init__(
            model=None, name=name, goal="be tested", instruction="follow the script", tools=tools
        )
        self._model_config = SimpleNamespace()
        self.memory = ConversationMemory()
        self.script = list(script)
        self.asked = 0

    async def _run(self, messages, request_context, run_mode, **more):
        self.asked += 1
        said = self.script.pop(0)
        if callable(said):
            said = await said()
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Message) else Message(role="assistant", content=said)


def final(text):
    return json.dumps(
        {"thought": f"say {text}", "next_action": "final_response", "action_input": {"response": text}}
    )


def invoke(*names):
    calls = [{"agent_name": name, "request": f"{name}, please"} for name in names]
    return json.dumps({"thought": "ask", "next_action": "invoke_agent", "action_input": calls})


def calls(tool, **arguments):
    call = ToolCallMsg(id="t1", call_id="t1", type="function", name=tool, arguments=json.dumps(arguments))
    return Message(role="assistant", content=None, tool_calls=[call])


def search(query: str, api_key: str = "") -> str:
    """Search.

    Args:
        query: for what
        api_key: with which key
    """
    return f"found {query}"


def a_team(*planner, writer=()):
    """A planner who invokes two others at once; by default a whole run of them."""
    AgentRegistry.clear()
    script = planner or (
        calls("search", query="tides", api_key="k-1"),
        invoke("Writer", "Editor"),
        final("all done"),
    )
    return [
        Scripted("Planner", *script, tools={"search": search}),
        Scripted("Writer", *(writer or [invoke("Planner")])),
        Scripted("Editor", invoke("Planner")),
    ]


async def until(condition, seconds=20.0):
    """The first true value of an async condition."""
    end = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)
