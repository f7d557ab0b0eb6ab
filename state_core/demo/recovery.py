"""Recovery: steps that fail on real conditions, are attempted again in another way, or are done without."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from state_core.demo.measure import Findings, measure_files, measure_source, parse, spread
from state_core.demo.pace import take_time
from state_core.demo.sources import all_files, package, standard_modules
from state_core.orchestra import Node, Topology
from state_core.orchestra.agents import AgentFunction

SECONDS = 3.0
"""What the census may take: too little for every file on this machine."""
FEWER_FILES = 24
"""What its second attempt reads."""
AT_ONCE = 5

TOPOLOGY = Topology(
    [
        Node("templates", ["Template reader"], max_attempts=2),
        Node("census", ["Census taker"], after=["templates"], step_timeout=SECONDS, max_attempts=4),
        Node("compiled", ["Optimist"], after=["templates"], max_attempts=2, on_error="continue"),
        Node("summary", ["Chronicler"], after=["census", "compiled"]),
    ],
    name="recovery",
)


async def read_templates(task: Any, context: Any) -> dict[str, Any]:
    """Django's project templates look like Python and are not, until their placeholders are filled in."""
    total = Findings()
    for path in _templates():
        source = path.read_text()
        if context.attempt > 1:
            source = re.sub(r"{{.*?}}", "placeholder", source)
        total += measure_source(source, path.name)  # raises SyntaxError in the first attempt
        await take_time(context, 0.3)
    await context.say(f"{total.files} templates read in attempt {context.attempt}.")
    return total.as_result()


def _templates() -> list[Path]:
    return sorted((package("django").folder / "conf" / "app_template").rglob("*.py-tpl"))


async def take_census(request: Any, context: Any) -> dict[str, Any]:
    """Count every file of every package; after a time-out, a few that fit into the time."""
    files = await asyncio.to_thread(_to_count, context.attempt)
    await context.say(f"Attempt {context.attempt}: {len(files)} files in {SECONDS:g} seconds.")
    total = Findings()
    for start in range(0, len(files), AT_ONCE):
        total += await asyncio.to_thread(measure_files, files[start : start + AT_ONCE], Path("/"))
        await asyncio.sleep(0.05)  # the machine has other things to do
    return total.as_result()


def _to_count(attempt: int) -> list[Path]:
    return all_files() if attempt == 1 else spread(standard_modules(), FEWER_FILES // (attempt - 1))


async def read_compiled(request: Any, context: Any) -> Any:
    """A compiled extension is no Python source, in the second attempt neither: this branch fails."""
    await take_time(context, 2)
    await context.say("Perhaps a compiled module can be read like any other.")
    return await asyncio.to_thread(_parsed, _compiled())


def _compiled() -> Path:
    folder = Path(orjson.__file__).parent
    return next(path for path in folder.iterdir() if path.suffix in {".so", ".pyd"})


def _parsed(path: Path) -> str:
    return ast.dump(parse(path.read_bytes()))


async def tell(results: dict[str, Any], context: Any) -> str:
    """Of the branches before it, those that failed and were optional are missing."""
    census = results["census"]
    await take_time(context)
    missing = "" if "compiled" in results else " The compiled module could not be read; the rest went on."
    return (
        f"{census['files']} files with {census['functions']} functions were counted in time; "
        f"the hardest is {census['hardest_function']['where']}.{missing}"
    )


AGENTS: Mapping[str, AgentFunction] = {
    "Template reader": read_templates,
    "Census taker": take_census,
    "Optimist": read_compiled,
    "Chronicler": tell,
}
