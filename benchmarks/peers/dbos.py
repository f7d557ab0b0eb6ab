"""DBOS on PostgreSQL: one 1 KB step after another in one workflow."""

from __future__ import annotations

import sys

from benchmarks.machine import Place
from benchmarks.peers.installing import installed, run


async def steps(place: Place, times: int) -> float:
    """Steps a second."""
    folder = installed("dbos", "dbos", sys.executable)
    found = await run("dbos_steps.py", folder, sys.executable, place.url, str(times))
    return times / float(found["seconds"])
