"""Runs a chain of nodes and can be killed: ``python -m tests.adapters.langgraph.kill_driver URL PREFIX``.

It imports everything once and forks a worker for each line that it reads. The worker says each node that it
runs; node n runs once node n - 1 is durable.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
import time
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph

from state_core import RedisStorageBackend, StateManager, StateManagerConfig
from state_core.adapters.langgraph import StateCoreSaver, run_session
from state_core.exceptions import LeaseHeld
from state_core.storage import from_url

NODES = 30


class Chain(TypedDict, total=False):
    total: Annotated[int, operator.add]


def say(*words: object) -> None:
    """In one write: a kill leaves the whole line or none of it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def chain(saver: StateCoreSaver) -> Any:
    def node(number: int) -> Any:
        def run(state: Chain) -> Chain:
            say("runs", number)
            time.sleep(0.004)
            return {"total": 1}

        return run

    builder = StateGraph(Chain)
    before = START
    for number in range(1, NODES + 1):
        builder.add_node(f"node{number}", node(number))
        builder.add_edge(before, f"node{number}")
        before = f"node{number}"
    return builder.compile(checkpointer=saver)


async def drive(url: str, prefix: str) -> None:
    store = RedisStorageBackend(url=url, key_prefix=prefix) if url.startswith("redis:") else from_url(url)
    manager = StateManager(store, config=StateManagerConfig(lease_ttl=0.5, control_interval=0.05))
    graph = chain(StateCoreSaver(manager))
    config = {"recursion_limit": 2 * NODES}
    while True:
        begun = await graph.aget_state({"configurable": {"thread_id": "chain"}})
        try:
            given = None if begun.created_at else {"total": 0}
            output = await run_session(graph, given, thread_id="chain", config=config, durability="sync")
        except LeaseHeld:
            await asyncio.sleep(0.05)
            continue
        say("total", output["total"])
        return


def main() -> None:
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(drive(*sys.argv[1:]))
            os._exit(0)
        say("pid", pid)
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main()
