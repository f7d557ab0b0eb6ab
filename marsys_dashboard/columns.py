"""Branches and steps as columns, for thousands of them: names are said once, moments as steps from one to the
next. `static/js/charts/model.js` reads them. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from marsys_dashboard.graph_layout import NAME_LENGTH, Graph
from state_core.records import Document, parse_time

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(value: str | datetime | None) -> int | None:
    """Whole ones, cut as browsers cut them."""
    moment = parse_time(value)
    return (moment - _EPOCH) // _MILLISECOND if moment else None


class _Names:
    """Each one once, by its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __getitem__(self, name: object) -> int:
        return self.numbers.setdefault(str(name or "")[:NAME_LENGTH], len(self.numbers))


def numbered(branches: Mapping[str, Document]) -> dict[str, int]:
    """Branch id → its number, in the order of their opening."""
    return {branch_id: number for number, branch_id in enumerate(branches)}


def lanes_and_bars(branches: Mapping[str, Document]) -> Document:
    """Branches, and their steps behind one another: ``count`` says how many of them are each branch's."""
    names = _Names()
    return {
        "lanes": _lanes(branches, names),
        "bars": _bars(branches.values(), names),
        "names": list(names.numbers),
    }


def _lanes(branches: Mapping[str, Document], names: _Names) -> Document:
    """``name``: None where it is the id. ``opened``: since the one before. ``ended``: since it was opened."""
    numbers = numbered(branches)
    columns: dict[str, list[Any]] = {key: [] for key in _LANE}
    before = 0
    for branch_id, branch in branches.items():
        opened = milliseconds(branch["opened_at"]) or 0
        name = str(branch["name"])[:NAME_LENGTH]
        row = (
            branch_id,
            None if name == branch_id else name,
            names[branch["branch_type"]],
            names[branch["status"]],
            names[branch["agent"]],
            [numbers[parent] for parent in branch["parent_ids"] if parent in numbers],
            [numbers[parent] for parent in branch["joined_ids"] if parent in numbers],
            opened - before,
            _since(opened, branch["ended_at"]),
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
        before = opened
    return columns


_LANE = ("id", "name", "type", "status", "agent", "parents", "joined", "opened", "ended")


def _bars(branches: Iterable[Document], names: _Names) -> Document:
    """``start``: since the step before, of whichever branch. ``took``: None while it lasts. ``again``: the
    attempts of those steps that were begun more than once, by the step's number."""
    count, step_ids, agents, statuses, starts, took = [], [], [], [], [], []
    again: dict[str, int] = {}
    before = 0
    for branch in branches:
        steps = branch["steps"]
        count.append(len(steps))
        for step in steps.values():
            start = milliseconds(step["started_at"]) or 0
            if step["attempt"] > 1:
                again[str(len(step_ids))] = step["attempt"]
            step_ids.append(step["step_id"])
            agents.append(names[step["agent"]])
            statuses.append(names[step["status"]])
            starts.append(start - before)
            took.append(_since(start, step["ended_at"]))
            before = start
    return {
        "count": count,
        "step": step_ids,
        "agent": agents,
        "status": statuses,
        "start": starts,
        "took": took,
        "again": again,
    }


def _since(start: int, end: str | None) -> int | None:
    moment = milliseconds(end)
    return None if moment is None else moment - start


def boxes_and_edges(graph: Graph, numbers: Mapping[str, int]) -> Document:
    """``of``: the branches that each box stands for. ``edges``: from, to, from, to, … by numbers of boxes."""
    boxes = {node.id: number for number, node in enumerate(graph.nodes)}
    return {
        "of": [[numbers[member] for member in node.members] for node in graph.nodes],
        "x": [node.x for node in graph.nodes],
        "y": [node.y for node in graph.nodes],
        "w": [node.width for node in graph.nodes],
        "edges": [boxes[end] for edge in graph.edges for end in edge],
        "width": graph.width,
        "height": graph.height,
        "groups": graph.groups,
    }
