"""A machine in a hand-over: ``python -m tests.orchestra.machine WHICH STORE GATE [PREFIX]``.

It says "ready", begins when it is told to, and says what came of it as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from state_core import (
    Node,
    Orchestra,
    OrchestraInstance,
    RedisStorageBackend,
    StateManager,
    StateManagerConfig,
    StorageBackend,
    Topology,
)
from state_core.exceptions import LeaseHeld
from state_core.storage import from_url

SESSION = "distributed_123"
PART_1 = Topology([Node("collect", ["Collector"]), Node("count", ["Counter"], ["collect"])], name="part1")
PART_2 = Topology(
    [Node("collect", ["Collector"]), Node("write", ["Writer"], ["collect"]), Node("check", ["Checker"])],
    name="part2",
)
CONFIG = StateManagerConfig(control_interval=0.1)


def store_at(url: str, prefix: str = "") -> StorageBackend:
    return RedisStorageBackend(url=url, key_prefix=prefix) if prefix else from_url(url)


async def collect(request: Any, context: Any) -> list[str]:
    await context.say("collected on machine A")
    return ["moon", "sun"]


async def run_machine_a(manager: StateManager, gate: Path) -> Any:
    agents = {"Collector": collect, "Counter": lambda request: len(request)}
    result = await Orchestra.run("Explain tides", PART_1, manager, {"session_id": SESSION}, agents)
    await manager.pause_execution(SESSION, metadata={"handoff_to": "machine_b"})
    return result.final_response


async def run_machine_b(manager: StateManager, gate: Path) -> Any:
    """Its writer does not end before the gate opens (there is such a file)."""

    def never(request: Any) -> None:
        raise AssertionError("This was done on machine A.")

    async def write(request: Any, context: Any) -> Any:
        while not gate.exists():
            await asyncio.sleep(0.02)
        return [request, context.metadata["handoff_to"], context["machine"]]

    async def check(request: Any, context: Any) -> Any:
        return context.previous

    agents = {"Collector": never, "Writer": write, "Checker": check}
    result = await OrchestraInstance(PART_2, manager, agents).resume_session(SESSION, {"machine": "B"})
    return result.branch_results


MACHINES = {"a": run_machine_a, "b": run_machine_b}


async def main(which: str, url: str, gate: str, prefix: str = "") -> None:
    manager = StateManager(store_at(url, prefix), config=CONFIG)
    await manager.storage.last_seqs([])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        said: Any = {"result": await MACHINES[which](manager, Path(gate))}
    except LeaseHeld as error:
        said = {"held by": error.owner, "says": str(error)}
    print(json.dumps(said), flush=True)
    await manager.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
