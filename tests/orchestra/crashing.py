"""A program that is killed in the middle of its work: ``python -m tests.orchestra.crashing STORE JOURNAL``.

Each execution of a step is noted in the journal, synced, so that it survives a kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from state_core import (
    Again,
    DatabaseStorageBackend,
    Node,
    Orchestra,
    StateManager,
    StateManagerConfig,
    Topology,
)

TOPOLOGY = Topology(
    [
        Node("collect", ["Collector"]),
        Node("analyse", ["Splitter", "Counter"], ["collect"]),
        Node("report", ["Reporter"], ["analyse"]),
    ],
    name="crashing",
)
CONFIG = StateManagerConfig(lease_ttl=2, control_interval=0.1)


class Work:
    """While the gate is shut (there is no such file) the second step of the counter and one of the
    branches that are fanned out do not end."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.gate = journal.with_suffix(".gate")

    @property
    def agents(self) -> dict[str, Any]:
        return {
            "Collector": self.collect,
            "Splitter": self.split,
            "Worker": self.work,
            "Counter": self.count,
            "Reporter": self.report,
        }

    def note(self, context: Any) -> None:
        with self.journal.open("a") as file:
            file.write(f"{context.step_id} {context.attempt}\n")
            file.flush()
            os.fsync(file.fileno())

    async def gate_opens(self) -> None:
        while not self.gate.exists():
            await asyncio.sleep(0.02)

    async def collect(self, request: Any, context: Any) -> list[int]:
        self.note(context)
        return [1, 2, 3]

    async def split(self, request: list[int], context: Any) -> int:
        self.note(context)
        return sum(await context.invoke([("Worker", number) for number in request]))

    async def work(self, request: int, context: Any) -> int:
        if request == 3:
            await self.gate_opens()
        self.note(context)
        return request * 10

    async def count(self, request: Any, context: Any) -> Any:
        number = request if isinstance(request, int) else 1
        if number == 2:
            await self.gate_opens()
        self.note(context)
        return Again(number + 1) if number < 3 else number

    async def report(self, request: Any, context: Any) -> Any:
        self.note(context)
        return request


async def main(url: str, journal: str) -> None:
    manager = StateManager(DatabaseStorageBackend(url), config=CONFIG)
    await Orchestra.run("t", TOPOLOGY, manager, {"session_id": "s"}, Work(Path(journal)).agents)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
