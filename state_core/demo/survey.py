"""Package survey: collect → analyse, a branch for each package, opened at run time → synthesise → report."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from state_core.demo.measure import measure_package
from state_core.demo.pace import take_time
from state_core.demo.sources import package, packages_worth_reading
from state_core.orchestra import Handoff, PatternConfig
from state_core.orchestra.agents import AgentFunction

PACKAGES = 6
FILES = 40
"""At most so many of a package are read, evenly spread over it."""

TOPOLOGY = PatternConfig.pipeline(
    stages=[
        {"name": "collect", "agents": ["Collector"]},
        {"name": "analyse", "agents": ["Analyst"]},
        {"name": "synthesise", "agents": ["Synthesiser"]},
        {"name": "report", "agents": ["Reporter"]},
    ],
    name="package survey",
)

Findings = dict[str, dict[str, Any]]
"""Package → what was measured of it."""


async def collect(task: Any, context: Any) -> list[str]:
    """Choose a handful of packages. The session's id is the seed: a second attempt chooses the same."""
    known = [package.name for package in await asyncio.to_thread(packages_worth_reading)]
    chosen = random.Random(context.session_id).sample(known, min(PACKAGES, len(known)))  # noqa: S311
    await take_time(context)
    await context.say(f"{len(known)} packages here have five files or more. I chose {', '.join(chosen)}.")
    return chosen


async def analyse(names: list[str], context: Any) -> Findings:
    """How many branches there are is known only now."""
    found = await context.invoke([("Reader", {"package": name}, name) for name in names], limit=4)
    return dict(zip(names, found, strict=True))


async def read(request: dict[str, Any], context: Any) -> Handoff:
    """First step of a package's branch: what is there?"""
    files = await asyncio.to_thread(package(request["package"]).files)
    size = sum(path.stat().st_size for path in files)
    await take_time(context)
    await context.say(f"{request['package']} has {len(files)} Python files, {size / 1000:.0f} KB together.")
    return Handoff("Counter", {**request, "files_in_package": len(files), "bytes_in_package": size})


async def count(request: dict[str, Any], context: Any) -> Handoff:
    """Second step: parse and count."""
    findings = await asyncio.to_thread(measure_package, package(request["package"]), FILES)
    result = findings.as_result()
    await take_time(context, 2)
    await context.say(
        f"{result['functions']} functions in {result['lines']} lines; {result['documented_percent']} % say "
        f"what they do. The hardest is {result['hardest_function']['where']}."
    )
    return Handoff("Critic", {**request, **result})


async def judge(request: dict[str, Any], context: Any) -> dict[str, Any]:
    """Third step: what stands out?"""
    remarks = list(_remarks(request))
    await take_time(context)
    await context.say(" ".join(remarks) or "Nothing stands out.")
    return {**request, "remarks": remarks}


def _remarks(found: dict[str, Any]) -> Any:
    if found["documented_percent"] >= 70:
        yield "Well documented."
    if found["functions"] >= 20 and found["documented_percent"] < 15:
        yield "Hardly a function says what it does."
    if found["longest_function"]["lines"] > 150:
        yield f"A function of {found['longest_function']['lines']} lines is hard to review."
    if found["hardest_function"]["complexity"] > 30:
        yield f"{found['hardest_function']['complexity']} ways through one function are hard to test."
    if found["unreadable"]:
        yield f"{len(found['unreadable'])} files do not parse with this Python."


async def synthesise(found: Findings, context: Any) -> dict[str, Any]:
    """Compare the packages with each other."""
    imports: Counter[str] = Counter()
    for result in found.values():
        imports.update(result["most_imported"])
    comparison = {
        "lines": sum(result["lines"] for result in found.values()),
        "best_documented": max(found, key=lambda name: found[name]["documented_percent"]),
        "simplest": min(found, key=lambda name: found[name]["mean_complexity"]),
        "hardest_function": max((result["hardest_function"] for result in found.values()), key=_complexity),
        "most_imported": dict(imports.most_common(5)),
        "packages": found,
    }
    await take_time(context)
    await context.set_result("comparison", {k: v for k, v in comparison.items() if k != "packages"})
    return comparison


def _complexity(function: dict[str, Any]) -> int:
    return int(function["complexity"])


async def report(comparison: dict[str, Any], context: Any) -> str:
    """Say it in sentences."""
    hardest, packages = comparison["hardest_function"], comparison["packages"]
    best = comparison["best_documented"]
    await take_time(context)
    return "\n".join(
        [
            f"{len(packages)} packages, {comparison['lines']} lines read.",
            f"Best documented: {best}, {packages[best]['documented_percent']} % of its functions.",
            f"Simplest functions on average: {comparison['simplest']}.",
            f"Most ways through one function: {hardest['complexity']}, in {hardest['where']}.",
            f"Imported most: {', '.join(comparison['most_imported'])}.",
            *(
                f"{name}: {' '.join(result['remarks'])}"
                for name, result in packages.items()
                if result["remarks"]
            ),
        ]
    )


AGENTS: Mapping[str, AgentFunction] = {
    "Collector": collect,
    "Analyst": analyse,
    "Reader": read,
    "Counter": count,
    "Critic": judge,
    "Synthesiser": synthesise,
    "Reporter": report,
}
