"""Closer look: an agent proposes, a person chooses, and the choice is examined."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from state_core.demo.measure import UNPARSABLE, hardest_functions, measure_package
from state_core.demo.pace import take_time
from state_core.demo.sources import package, packages_worth_reading, read_source
from state_core.orchestra import PatternConfig
from state_core.orchestra.agents import AgentFunction

CANDIDATES = 3
MODULES = 5

TOPOLOGY = PatternConfig.pipeline(
    stages=[
        {"name": "scout", "agents": ["Scout"]},
        {"name": "choose", "agents": ["Interviewer"]},
        {"name": "examine", "agents": ["Examiner"]},
        {"name": "advise", "agents": ["Adviser"]},
    ],
    name="closer look",
)


async def scout(task: Any, context: Any) -> list[dict[str, Any]]:
    """Measure some packages and propose those whose functions are hardest on average."""
    known = await asyncio.to_thread(packages_worth_reading)
    drawn = random.Random(context.session_id).sample(known, min(8, len(known)))  # noqa: S311
    measured = []
    for candidate in drawn:
        findings = await asyncio.to_thread(measure_package, candidate, 10)
        measured.append({"package": candidate.name, **findings.as_result()})
        await take_time(context, 0.3)
    measured.sort(key=lambda result: -result["mean_complexity"])
    for result in measured[:CANDIDATES]:
        await context.say(f"{result['package']}: mean complexity {result['mean_complexity']}.")
    return measured[:CANDIDATES]


async def choose(candidates: list[dict[str, Any]], context: Any) -> str:
    """The session waits here, for days if need be, until somebody answers."""
    names = [candidate["package"] for candidate in candidates]
    hardest = candidates[0]["hardest_function"]
    chosen = await context.ask(
        f"Which package shall I look into more deeply? {names[0]} has the hardest functions on average; "
        f"{hardest['where']} has {hardest['complexity']} ways through it.",
        choices=names,
    )
    await context.say(f"A person chose {chosen}.")
    return str(chosen)


async def examine(name: str, context: Any) -> dict[str, Any]:
    """Each of the largest modules in a branch of its own."""
    chosen = package(name)
    files = await asyncio.to_thread(chosen.files)
    largest = sorted(files, key=lambda path: -path.stat().st_size)[:MODULES]
    places = [str(path.relative_to(chosen.folder)) for path in largest]
    found = await context.invoke([("Examiner of a module", [name, place], place) for place in places])
    return {"package": name, "modules": dict(zip(places, found, strict=True))}


async def examine_module(request: list[str], context: Any) -> list[dict[str, Any]]:
    name, place = request
    path = package(name).folder / place
    await take_time(context, 2)
    try:
        functions = await asyncio.to_thread(_hardest_in, path)
    except UNPARSABLE as error:
        await context.say(f"{place} is not read: {error}")
        return []
    await context.say(f"{place}: {len(functions)} functions have more than ten ways through them.")
    return functions


def _hardest_in(path: Path) -> list[dict[str, Any]]:
    return [found for found in hardest_functions(read_source(path)) if found["complexity"] > 10]


async def advise(examined: dict[str, Any], context: Any) -> str:
    """Where would a reviewer begin?"""
    functions = [
        (found["complexity"], f"{place}:{found['line']} {found['name']}, {found['lines']} lines")
        for place, listed in examined["modules"].items()
        for found in listed
    ]
    first = sorted(functions, reverse=True)[:5]
    await take_time(context)
    if not first:
        return (
            f"In the largest modules of {examined['package']} no function has more than ten ways through it."
        )
    lines = [f"{score} ways: {where}" for score, where in first]
    return f"In {examined['package']} a review should begin with:\n" + "\n".join(lines)


AGENTS: Mapping[str, AgentFunction] = {
    "Scout": scout,
    "Interviewer": choose,
    "Examiner": examine,
    "Examiner of a module": examine_module,
    "Adviser": advise,
}
