"""A workflow and the program that runs it: ``python -m tests.e2e.workflow FOLDER LEASE_TTL [SESSION]``.

Runs the session, where one is named, and then works as a worker until it is stopped. Each execution of a
step is noted in the folder's journal, synced, so that it survives a kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from state_core import (
    Again,
    DatabaseStorageBackend,
    Node,
    Orchestra,
    OrchestraWorker,
    StateManager,
    StateManagerConfig,
    Topology,
)

PACE = 0.5
"""Seconds that a step takes."""
RESEARCHERS = 6
SLOW = f"research.Researcher-{RESEARCHERS}"
"""The branch that stays in its step while it is held up."""

TOPOLOGY = Topology(
    [
        Node("collect", ["Collector"]),
        Node("research", ["Researcher"] * RESEARCHERS, ["collect"]),
        Node("edit", ["Editor"], ["research"]),
        Node("report", ["Reporter"], ["edit"]),
    ],
    name="main job",
)


class Work:
    """The agents. A test steers them by files: until there is ``enough``, researchers go on; while there
    is ``hold``, one of them does not end its step."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.enough = folder / "enough"
        self.hold = folder / "hold"

    @property
    def agents(self) -> dict[str, Any]:
        return {
            "Collector": self.collect,
            "Researcher": self.research,
            "Editor": self.edit,
            "Reporter": self.report,
        }

    def note(self, context: Any) -> None:
        with self.journal.open("a") as file:
            file.write(f"{context.step_id} {context.attempt} {context.get('focus', 'none')}\n")
            file.flush()
            os.fsync(file.fileno())

    def noted(self) -> list[tuple[str, int, str]]:
        """Step, attempt, and what the context's focus was, for each execution."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [(step, int(attempt), focus) for step, attempt, focus in lines]

    def executions(self) -> Counter[str]:
        return Counter(step for step, _attempt, _focus in self.noted())

    async def collect(self, request: Any, context: Any) -> str:
        self.note(context)
        await asyncio.sleep(PACE)
        return "subjects"

    async def research(self, request: Any, context: Any) -> Any:
        self.note(context)
        number = request["number"] if isinstance(request, dict) else 1
        await context.say(f"Finding {number} of {context.branch_id}.")
        await asyncio.sleep(PACE)
        while context.branch_id == SLOW and self.hold.exists():
            await asyncio.sleep(0.02)
        return f"{number} findings" if self.enough.exists() else Again({"number": number + 1})

    async def edit(self, findings: dict[str, Any], context: Any) -> str:
        self.note(context)
        return str(await context.ask("Whose findings lead?", choices=sorted(findings)))

    async def report(self, leading: str, context: Any) -> str:
        self.note(context)
        return f"{leading} leads"


async def main(folder: str, lease_ttl: str, *session_ids: str) -> None:
    config = StateManagerConfig(lease_ttl=float(lease_ttl), control_interval=0.2)
    manager = StateManager(DatabaseStorageBackend(os.environ["DATABASE_URL"]), config=config)
    work = Work(Path(folder))
    for session_id in session_ids:
        await Orchestra.run("research it", TOPOLOGY, manager, {"session_id": session_id}, work.agents)
    await OrchestraWorker(manager, work.agents, poll=0.2).run_until_signal()
    await manager.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
