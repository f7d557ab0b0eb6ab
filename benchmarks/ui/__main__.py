"""python -m benchmarks.ui [--only PATTERN …] [--store KIND] [--quick] [--json FILE]"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.__main__ import busy, report
from benchmarks.figures import Figure, table
from benchmarks.machine import Machine
from benchmarks.ui import lists, live, pages, viewers
from benchmarks.ui.site import QUICK, STORES, Site, Sizes, opened

Measure = Callable[[Site, Sizes], Awaitable[list[Figure]]]

ROWS: dict[str, Measure] = {
    "server": pages.server,
    "event": live.lone_events,
    "page": pages.useful,
    "list": lists.useful,
    "idle": live.idle,
    "offline": live.offline,
    "wide": pages.wide,
    "recording": live.recording,
    "many-sessions": lists.many,
    "long": pages.long,
    "crowd": live.crowd,
    "viewers-one": viewers.of_one,
    "viewers-many": viewers.of_many,
    "viewers-not-reading": viewers.not_reading,
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.ui", description="What people see of it.")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="such as page viewers-*")
    parser.add_argument("--store", choices=STORES, default=STORES[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there, too")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    return parser.parse_args(given)


def chosen(patterns: Sequence[str]) -> dict[str, Measure]:
    return {name: row for name, row in ROWS.items() if any(fnmatch(name, each) for each in patterns)}


async def measure(rows: dict[str, Measure], sizes: Sizes, store: str) -> list[Figure]:
    """Each row has a dashboard and a store of its own."""
    figures: list[Figure] = []
    with Machine() as machine:
        for name, row in rows.items():
            print(f"{name} …", file=sys.stderr, flush=True)
            async with opened(machine, store) as site:
                figures += await row(site, sizes)
    return figures


def main() -> int:
    asked = arguments()
    rows = chosen(asked.only)
    if asked.list or not rows:
        print("\n".join(ROWS))
        return 0 if asked.list else 2
    sizes = QUICK if asked.quick else Sizes()
    figures = asyncio.run(measure(rows, sizes, asked.store))
    print(table(figures))
    print(busy())
    if asked.json:
        document = {**report(figures, quick=asked.quick), "store": asked.store}
        asked.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
