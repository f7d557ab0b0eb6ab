"""python -m benchmarks [--only PATTERN …] [--quick] [--json FILE]"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks import explain, graphs, growth, places, steps
from benchmarks.figures import Figure, table
from benchmarks.machine import KINDS, QUICK, Machine, Sizes

Measure = Callable[[Machine, Sizes], Awaitable[list[Figure]]]
SQL = ("sqlite", "postgresql")


def _of(measure: Callable[..., Awaitable[list[Figure]]], kind: str) -> Measure:
    return lambda machine, sizes: measure(machine, sizes, kind)


ROWS: dict[str, Measure] = {
    **{f"growth-{kind}": _of(growth.growth, kind) for kind in KINDS},
    **{f"langgraph-{kind}": _of(graphs.graph, kind) for kind in KINDS},
    **{f"steps-{kind}": _of(steps.one_after_another, kind) for kind in KINDS},
    **{f"flat-{kind}": _of(steps.flat, kind) for kind in KINDS},
    "crowd-postgresql": steps.crowd,
    **{f"feed-{kind}": _of(steps.feed, kind) for kind in SQL},
    **{f"checkpoint-{kind}": _of(places.checkpoint, kind) for kind in KINDS},
    **{f"restore-{kind}": _of(places.restore, kind) for kind in KINDS},
    **{f"list-{kind}": _of(places.checkpoint_list, kind) for kind in KINDS},
    **{f"heads-{kind}": _of(places.heads, kind) for kind in SQL},
    **{f"explain-{kind}": _of(explain.explain, kind) for kind in SQL},
    **{f"save-{kind}": _of(places.save, kind) for kind in KINDS},
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Ratios to peers and to limits.")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="PATTERN", help="such as steps-* growth-redis"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there, too")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    return parser.parse_args(given)


def chosen(patterns: Sequence[str]) -> dict[str, Measure]:
    return {name: row for name, row in ROWS.items() if any(fnmatch(name, each) for each in patterns)}


async def measured(rows: dict[str, Measure], sizes: Sizes) -> list[Figure]:
    figures: list[Figure] = []
    with Machine() as machine:
        for name, measure in rows.items():
            print(f"{name} …", file=sys.stderr, flush=True)
            figures += await measure(machine, sizes)
    return figures


def report(figures: Sequence[Figure], *, quick: bool) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load_average": os.getloadavg(),
        "quick": quick,
        "figures": [figure.document() for figure in figures],
    }


def busy() -> str:
    """A word of warning, where it is due."""
    if os.getloadavg()[0] <= (os.cpu_count() or 1):
        return ""
    return "\nThe machine was busy with other work; these figures say little."


def main() -> int:
    asked = arguments()
    rows = chosen(asked.only)
    if asked.list or not rows:
        print("\n".join(ROWS))
        return 0 if asked.list else 2
    sizes = QUICK if asked.quick else Sizes()
    figures = asyncio.run(measured(rows, sizes))
    print(table(figures))
    print(busy())
    if asked.json:
        asked.json.write_text(
            json.dumps(report(figures, quick=asked.quick), indent=1, ensure_ascii=False) + "\n"
        )
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the peers
    sys.exit(main())
