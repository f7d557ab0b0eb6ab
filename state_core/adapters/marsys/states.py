"""MARSYS 0.2.1's execution state as plain JSON values, all of it, and back.

Its own way leaves out memory and conversation pattern, and turns what it does not know into text. Here what
cannot be stored is an error that names the place; objects that the framework itself puts into contexts while
it runs (configuration, topology, the branch) are no state and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from marsys.coordination.branches.types import (
    BranchResult,
    BranchState,
    BranchStatus,
    BranchTopology,
    BranchType,
    ConversationPattern,
    ExecutionBranch,
    StepResult,
)

from state_core.exceptions import InvalidValue

RUNTIME = frozenset(
    {"execution_config", "branch", "topology_graph", "event_bus", "agent_registry", "communication_manager"}
)
"""Names in contexts and metadata under which the framework keeps its own running parts."""
SETS = ("active_branches", "completed_branches")
PARTS = ("waiting_branches", "parent_child_map", "child_parent_map", "metadata")


def serialised(session_id: str, state: Mapping[str, Any], saved_at: float) -> dict[str, Any]:
    """Takes objects and what `deserialised` or a checkpoint gave. Raises InvalidValue."""
    branches, results = state.get("branches") or {}, state.get("branch_results") or {}
    found = {
        "session_id": session_id,
        "timestamp": saved_at,
        "branches": {name: plain_of(branch, f"branch {name!r}") for name, branch in branches.items()},
        "branch_results": {name: plain_of(one, f"result of {name!r}") for name, one in results.items()},
        **{name: sorted(map(str, state.get(name) or ())) for name in SETS},
        **{name: plain_of(state.get(name) or {}, name) for name in PARTS},
    }
    for name in ("task", "context"):
        if name in state:
            found[name] = plain_of(state[name], name)
    return found


def deserialised(data: Mapping[str, Any]) -> dict[str, Any]:
    """As MARSYS's own `load_session` returns it."""
    return {
        **data,
        "branches": {name: _branch(branch) for name, branch in data["branches"].items()},
        "branch_results": {name: _result(result) for name, result in data["branch_results"].items()},
        "active_branches": set(data["active_branches"]),
        "completed_branches": set(data["completed_branches"]),
        "waiting_branches": {name: set(children) for name, children in data["waiting_branches"].items()},
    }


def plain_of(value: Any, place: str) -> Any:
    """Plain JSON values. Raises InvalidValue, naming the place."""
    if value is None or isinstance(value, bool | int | float | str) and not isinstance(value, Enum):
        return value
    if isinstance(value, Enum):
        return plain_of(value.value, place)
    if isinstance(value, Mapping):
        kept = {str(name): part for name, part in value.items() if name not in RUNTIME}
        return {name: plain_of(part, f"{place}[{name!r}]") for name, part in kept.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain_of(part, place) for part in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain_of(part, f"{place}[{number}]") for number, part in enumerate(value)]
    return _object(value, place)


def _object(value: Any, place: str) -> Any:
    if isinstance(value, ExecutionBranch):
        return _branch_dict(value, place)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: getattr(value, one.name) for one in fields(value)}
        return {name: plain_of(part, f"{place}.{name}") for name, part in parts.items()}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return plain_of(dump(), place)
    if isinstance(value, PurePath):
        return str(value)
    raise InvalidValue(
        f"{place} is a {type(value).__name__}, which cannot be stored. Put text, numbers, lists, dicts or "
        "dataclasses there, or keep it outside of the workflow's context."
    )


def _branch_dict(branch: Any, place: str) -> dict[str, Any]:
    """The keys of MARSYS's own format, and what it leaves out. A completion condition is code, no state."""
    return {
        "id": branch.id,
        "name": branch.name,
        "type": branch.type.value,
        "topology": plain_of(branch.topology, f"{place}.topology"),
        "state": plain_of(branch.state, f"{place}.state"),
        "parent_branch": branch.parent_branch,
        "metadata": plain_of(branch.metadata or {}, f"{place}.metadata"),
    }


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _branch(data: Any) -> Any:
    if isinstance(data, ExecutionBranch):
        return data
    topology, state = dict(data["topology"]), dict(data["state"])
    pattern = topology.get("conversation_pattern")
    topology["conversation_pattern"] = ConversationPattern(pattern) if pattern else None
    state["status"] = BranchStatus(state["status"])
    state["completed_agents"] = set(state.get("completed_agents") or ())
    state["_execution_trace"] = [_step(step) for step in state.get("_execution_trace") or ()]
    return ExecutionBranch(
        id=data["id"],
        name=data["name"],
        type=BranchType(data["type"]),
        topology=BranchTopology(**_known(BranchTopology, topology)),
        state=BranchState(**_known(BranchState, state)),
        parent_branch=data.get("parent_branch"),
        metadata=data.get("metadata") or {},
    )


def _result(data: Any) -> Any:
    if isinstance(data, BranchResult):
        return data
    trace = [_step(step) for step in data.get("execution_trace") or ()]
    return BranchResult(**{**_known(BranchResult, data), "execution_trace": trace})


def _step(data: Any) -> Any:
    return data if isinstance(data, StepResult) else StepResult(**_known(StepResult, data))
