"""How soon a page is of use, in a browser that knows it and in one that does not."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.figures import Figure
from benchmarks.ui.peers import DAGSTER
from benchmarks.ui.probe import Cost, cost
from benchmarks.ui.rows import row
from benchmarks.ui.site import Site


@dataclass
class Visits:
    """By browsers that are new, each twice."""

    cold: list[Cost] = field(default_factory=list)
    warm: list[Cost] = field(default_factory=list)


async def visits(site: Site, url: str, what: str, rounds: int, *, charts: bool = False) -> Visits:
    """``what``: kind of page, as `probe.cost` knows it."""
    found = Visits()
    for _ in range(rounds):
        context = await site.visitor()
        found.cold.append(await cost(context, url, what, charts=charts))
        found.warm.append(await cost(context, url, what, charts=charts))
        await context.close()
    return found


def useful_rows(
    what: str, found: Visits, theirs: tuple[float, float], most: tuple[float, float]
) -> list[Figure]:
    """``theirs``, ``most``: seconds, warm and cold."""
    return [
        row(
            f"{what}: useful, {how}",
            "s",
            [each.useful / 1000 for each in costs],
            peer=DAGSTER,
            theirs=theirs[index],
            most=most[index],
        )
        for index, (how, costs) in enumerate({"warm": found.warm, "cold": found.cold}.items())
    ]
