"""What an agent asks of others at run time, as branches with ids that a further attempt finds again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from state_core.branch import Step
from state_core.codec import plain
from state_core.exceptions import InvalidValue
from state_core.orchestra.topology import Line, Node, branch_id_of


@dataclass(frozen=True)
class Call:
    """A nested branch that is to run, and what it is asked."""

    line: Line
    request: Any


def nested_calls(step: Step, calls: Sequence[Sequence[Any]], asked: Counter[str]) -> list[Call]:
    """``asked`` counts what was asked in this attempt, so that asking the same twice makes two branches."""
    return [_nested_call(step, call, asked) for call in calls]


def _nested_call(step: Step, call: Sequence[Any], asked: Counter[str]) -> Call:
    if isinstance(call, str) or not 2 <= len(call) <= 3:
        raise InvalidValue(f"invoke() takes (agent, request) or (agent, request, name), not {call!r}.")
    agent, request = call[0], plain(call[1], f"request to {call[0]}")
    digest = _digest([step.step_id, agent, request])
    asked[digest] += 1
    times = f"-{asked[digest]}" if asked[digest] > 1 else ""
    name = str(call[2]) if len(call) == 3 else agent
    branch_id = branch_id_of(f"{step.branch.branch_id}.{name}")[:90] + f"-{digest}{times}"
    return Call(Line(branch_id, name, agent, Node(name, [agent]), (step.branch.branch_id,)), request)


def _digest(parts: list[Any]) -> str:
    return hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=4).hexdigest()
