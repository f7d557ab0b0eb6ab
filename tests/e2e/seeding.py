"""A session as people have it: several hours of research in six branches, for pictures and tests."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from state_core.changes import append_items, set_value
from state_core.events import Event
from state_core.manager import StateManager
from state_core.storage.database import DatabaseStorageBackend

PAPERS = (
    ("2311.01234", "Surface codes with transversal gates", "distance 25 needs about 1,250 physical qubits"),
    ("2402.08871", "Bivariate bicycle codes", "144 data qubits keep 12 logical ones at distance 12"),
    ("2308.07915", "High-threshold quantum memory", "a threshold of 0.8 % under circuit noise"),
    ("2409.11402", "Colour codes on neutral atoms", "transversal Clifford gates, twice the checks"),
)


TRACE = """Traceback (most recent call last):
  File "agents.py", line 42, in fetch
    response = await client.get(url)
"""


class History:
    """Events of a past session, one after another on a clock of their own."""

    def __init__(self, minutes_ago: float) -> None:
        self.at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        self.events: list[Event] = []
        self.steps: dict[str, int] = {}

    def add(self, kind: str, changes: list[Any] | None = None, *, after: float = 0.2, **header: Any) -> None:
        self.at += timedelta(seconds=after)
        actor = header.pop("actor", "worker-7f3a")
        size = sum(len(str(change)) for change in changes or [])
        event = Event(kind=kind, at=self.at, actor=actor, changes=changes or [], size=size, **header)
        self.events.append(event)

    def open(self, branch: str, *parents: str) -> None:
        self.add(
            "branch.opened",
            branch_id=branch,
            status="running",
            data={"name": branch, "parents": list(parents)},
        )

    def step(self, branch: str, agent: str, given: Any, output: Any, seconds: float, error: str = "") -> None:
        self.steps[branch] = self.steps.get(branch, 0) + 1
        step = f"{branch}:{self.steps[branch]}"
        where = {"branch_id": branch, "step_id": step, "agent": agent}
        path = ["branches", branch, "steps", step]
        self.add(
            "step.started",
            [set_value([*path, "input"], given)],
            status="running",
            data={"attempt": 1},
            **where,
        )
        self.say(branch, agent, output if isinstance(output, str) else given, step)
        if error:
            trace = TRACE + error
            self.add(
                "step.failed", [set_value([*path, "error"], trace)], status="failed", duration=float(seconds),
                data={"error": error, "attempt": 1}, after=seconds, **where,
            )  # fmt: skip
            return
        self.add(
            "step.completed",
            [set_value([*path, "output"], output)],
            status="completed",
            duration=float(seconds),
            after=seconds,
            **where,
        )

    def say(self, branch: str, agent: str, content: Any, step: str = "", role: str = "assistant") -> None:
        message = {"role": role, "content": content, "agent": agent, "created_at": self.at.isoformat()}
        self.add(
            "message.added", [append_items(["branches", branch, "memory"], [message])],
            branch_id=branch, step_id=step, agent=agent, data={"count": 1, "role": role},
        )  # fmt: skip

    def end(self, branch: str) -> None:
        self.add("branch.completed", branch_id=branch, status="completed")


def research() -> History:
    """All that happened before a worker takes the session up."""
    history = History(minutes_ago=192)
    context = {
        "question": "Compare error-correction overheads of three architectures",
        "budget": {"tokens": 400_000},
    }
    history.add(
        "session.created", [set_value(["context", name], value) for name, value in context.items()],
        data={"title": "", "workflow": "research", "tags": ["physics", "nightly"]}, actor="ana",
    )  # fmt: skip
    history.add("session.started", data={"owner": "worker-7f3a"})
    history.open("collect")
    for number in range(18):
        arxiv, title, finding = PAPERS[number % 4]
        history.step(
            "collect",
            "Collector",
            {"query": f"quantum error correction, page {number + 1}"},
            {"id": arxiv, "title": title, "finding": finding},
            14,
        )
    history.end("collect")
    history.add(
        "checkpoint.created",
        data={
            "id": "cp-all-collected",
            "name": "all-collected",
            "kind": "auto",
            "size": 600_000,
            "counts": {"branches": 1, "steps": 18, "messages": 18},
        },
    )
    history.open("plan", "collect")
    for number in range(3):
        history.step(
            "plan",
            "Planner",
            "What should each researcher read?",
            f"Plan {number + 1}: compare the overheads of the three architectures; cite sources.",
            13,
        )
    history.end("plan")
    names = [f"Researcher-{number}" for number in range(1, 5)]
    for name in names:
        history.open(name, "plan")
    for number in range(40):
        for name in names:
            arxiv, title, finding = PAPERS[(number + len(name)) % 4]
            failed = number in {11, 29} and name == "Researcher-2"
            output = f"Read “{title}” ({arxiv}): {finding}. Round {number + 1}."
            history.step(
                name,
                name,
                {"paper": arxiv},
                output,
                38,
                "TimeoutError: arxiv.org did not answer in 30 s" if failed else "",
            )
        if number == 22:
            history.add(
                "checkpoint.created",
                data={
                    "id": "cp-before-merge",
                    "name": "before-merge",
                    "kind": "manual",
                    "size": 1_700_000,
                    "counts": {"branches": 6, "steps": 113, "messages": 113},
                },
                actor="ana",
            )
            history.add(
                "pause.requested", data={"reason": "Quota of the search interface is used up"}, actor="ana"
            )
            history.add(
                "session.paused", data={"reason": "Quota of the search interface is used up"}, after=9
            )
            history.add("resume.requested", data={"reason": "New quota"}, actor="ana", after=1500)
            history.add("session.resumed", data={"owner": "worker-7f3a"}, after=2)
    for name in names:
        if name != "Researcher-2":
            history.end(name)
    return history


async def seed(database: str, session_id: str = "quantum_research_2026") -> None:
    manager = StateManager(DatabaseStorageBackend(database))
    history = research()
    for start in range(0, len(history.events), 500):
        await manager.log.append(session_id, history.events[start : start + 500])
    await manager.close()


async def continue_live(database: str, session_id: str, pace: float, steps: int) -> None:
    """A worker takes the session up and goes on in one branch. ``pace``: seconds per step."""
    manager = StateManager(DatabaseStorageBackend(database))
    async with manager.session(session_id) as session:
        branch = session.branch("Researcher-2")
        for number in range(steps):
            async with branch.step(
                "Researcher-2", {"paper": PAPERS[number % 4][0]}, step_id=f"late:{number}"
            ) as step:
                await asyncio.sleep(pace)
                await branch.add_message(
                    "assistant",
                    f"Found {number + 14} papers. At distance 25 a logical qubit needs about 1,250 others.",
                    agent="Researcher-2",
                )
                await branch.add_message(
                    "tool", {"id": PAPERS[number % 4][0], "pages": 18}, name="fetch_paper"
                )
                step.output = {"papers": number + 14}
    await manager.close()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(continue_live(sys.argv[1], "quantum_research_2026", float(sys.argv[2]), 1000))
    else:
        asyncio.run(seed(sys.argv[1]))
