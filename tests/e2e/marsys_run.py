"""A program that runs a real MARSYS Orchestra with scripted agents, under the Python that has MARSYS:
``marsys_run.py <session id> <folder>``. An agent's step lasts until a file of its number is in the folder."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters" / "marsys_021"))

from marsys.coordination import Orchestra
from marsys.coordination.config import ExecutionConfig
from scripted import TEAM, a_team, calls, final, invoke

from state_core.adapters.marsys import MarsysStateManager, watched


def lasting(gate: Path, number: int, says: object) -> object:
    async def step() -> object:
        while not (gate / str(number)).exists():
            await asyncio.sleep(0.02)
        return says

    return step


async def main(session_id: str, gate: Path) -> None:
    state_manager = MarsysStateManager(os.environ["DATABASE_URL"])
    orchestra = watched(Orchestra, state_manager, linger=0.2)
    agents = a_team(
        lasting(gate, 1, calls("search", query="tides", api_key="k-1")),
        lasting(gate, 2, invoke("Writer", "Editor")),
        final("all done"),
    )
    result = await orchestra.run(
        "Explain tides",
        TEAM,
        context={"session_id": session_id},
        execution_config=ExecutionConfig(user_interaction="none"),
        state_manager=state_manager,
    )
    assert agents
    sys.exit(not result.success)


logging.disable(logging.CRITICAL)
asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
