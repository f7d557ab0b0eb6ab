"""Inventory: a long session of many small steps, with checkpoints made by themselves and by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from state_core.config import CheckpointConfig
from state_core.demo.measure import measure_files
from state_core.demo.pace import take_time
from state_core.demo.sources import standard_modules
from state_core.orchestra import Again, PatternConfig
from state_core.orchestra.agents import AgentFunction

LANES = 4
NAMED_EVERY = 20
"""Steps of the first lane between two checkpoints with a name."""
COUNTED = ("files", "lines", "functions")

CHECKPOINTS = CheckpointConfig(checkpoint_interval=20, max_checkpoints=6, checkpoint_on_completion=True)

TOPOLOGY = PatternConfig.pipeline(
    stages=[
        {"name": "plan", "agents": ["Planner"]},
        {"name": "catalogue", "agents": ["Head of catalogue"]},
        {"name": "shelve", "agents": ["Librarian"]},
    ],
    name="library inventory",
)


async def plan(task: Any, context: Any) -> list[list[str]]:
    """Divide the modules of the standard library among lanes."""
    names = [path.name for path in standard_modules()]
    await take_time(context)
    await context.say(f"{len(names)} modules of the standard library, in {LANES} lanes.")
    size = -(-len(names) // LANES)
    return [names[start : start + size] for start in range(0, len(names), size)]


async def divide(lanes: list[list[str]], context: Any) -> list[dict[str, Any]]:
    calls = [
        ("Cataloguer", {"lane": number, "done": 0}, f"{names[0]} to {names[-1]}")
        for number, names in enumerate(lanes)
    ]
    context["lanes"] = lanes
    return list(await context.invoke(calls))


async def catalogue(request: dict[str, Any], context: Any) -> Again | dict[str, Any]:
    """One module for each step. `Again` asks for the next: each is durable, and a place to pause."""
    names = context["lanes"][request["lane"]]
    path = _module(names[request["done"]])
    found = (await asyncio.to_thread(measure_files, [path], path.parent)).as_result()
    await take_time(context)
    await context.say(f"{path.name}: {found['lines']} lines, {found['functions']} functions.")
    totals = {name: request.get(name, 0) + found[name] for name in COUNTED}
    done = request["done"] + 1
    if request["lane"] == 0 and done % NAMED_EVERY == 0:
        await context.checkpoint(f"{done} modules in the first lane", reason="a round number")
    if done < len(names):
        return Again({**request, **totals, "done": done})
    return totals


def _module(name: str) -> Path:
    return next(path for path in standard_modules() if path.name == name)


async def shelve(lanes: list[dict[str, Any]], context: Any) -> str:
    totals = {name: sum(lane[name] for lane in lanes) for name in COUNTED}
    await take_time(context)
    return "{files} modules, {lines} lines, {functions} functions.".format(**totals)


AGENTS: Mapping[str, AgentFunction] = {
    "Planner": plan,
    "Head of catalogue": divide,
    "Cataloguer": catalogue,
    "Librarian": shelve,
}
