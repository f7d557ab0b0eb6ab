"""MARSYS 0.2.1's own file backend."""

from __future__ import annotations

from benchmarks.machine import Place
from benchmarks.peers.installing import installed, python_of_at_least, run

REQUIREMENT = "marsys==0.2.1"


async def growth(place: Place, turns: int) -> tuple[int, float]:
    python = python_of_at_least(12)
    folder = installed("marsys", REQUIREMENT, python)
    found = await run("marsys_growth.py", folder, python, str(place.folder / "peer"), str(turns))
    return place.stored_bytes(), float(found["seconds"])
