"""The lineage of a session as a panel: where it comes from, its restores, its forks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from marsys_dashboard.panels import View
from state_core.lineage import Lineage, Relative, Restored
from state_core.records import Checkpoint


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the family tree. ``depth`` counts from the eldest."""

    depth: int
    relative: Relative | None
    """None: the session that is looked at."""
    began_at: Relative | None
    """Tells at which event of the line above it began, by whom and why."""

    @property
    def indents(self) -> range:
        return range(self.depth)


async def lineage(view: View) -> dict[str, Any]:
    found = await view.manager.lineage(view.session_id)
    names = {place.id: place for place in await view.manager.list_checkpoints(view.session_id)}
    return {
        "lineage": found,
        "nodes": list(_nodes(found)),
        "restores": [
            (restore, names.get(restore.checkpoint_id), _before(restore, names))
            for restore in found.restores[::-1]
        ],
    }


def _nodes(found: Lineage) -> Iterator[Node]:
    """An origin tells of the birth of who comes after it; a fork of its own."""
    born: Relative | None = None
    for depth, origin in enumerate(found.origins):
        yield Node(depth, origin, born)
        born = origin
    depth = len(found.origins)
    yield Node(depth, None, born)
    for fork in found.forks:
        yield Node(depth + fork.generation, fork, fork)


def _before(restore: Restored, names: dict[str, Checkpoint]) -> Checkpoint | None:
    """The checkpoint of what was left, made in the event before."""
    return next((place for place in names.values() if place.seq == restore.seq - 1), None)
