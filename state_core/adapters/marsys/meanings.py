"""What each event of MARSYS means in a session of ours; of 0.2.1 and of the 0.3 line."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from state_core.adapters.marsys.projection import as_id
from state_core.adapters.recorded import RecordedSession, fingerprint
from state_core.compose import message_document
from state_core.records import BranchStatus, BranchType, Message

MAIN = "main"
_STATUSES = {status.value: status for status in BranchStatus} | {
    "paused": BranchStatus.WAITING,
    "terminated": BranchStatus.COMPLETED,
}
Values = Mapping[str, Any]


@dataclass
class Course:
    """What is remembered of a run between two of its events."""

    steps: dict[str, str] = field(default_factory=dict)
    """Branch → its step under way, of an agent that names none."""
    numbers: dict[str, int] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    """Agent that is about to run in parallel → the branch that invoked it."""
    homes: dict[str, str] = field(default_factory=dict)
    """Agent → the branch that it was last at work in."""
    numbered: dict[tuple[str, str], str] = field(default_factory=dict)
    """(agent, number that MARSYS gives its step) → step."""
    spans: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Span that is still open → those that were closed within it."""
    memories: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(branch, agent) → fingerprints of the messages that are recorded of it."""
    questions: dict[str, str] = field(default_factory=dict)
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    has_response: bool = False
    is_told_of_end: bool = False
    ended: bool = False
    error: str = ""
    touched_at: float = field(default_factory=time.monotonic)


Meaning = Callable[[RecordedSession, Course, Values, float], Awaitable[None]]


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _text(values: Values, name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)


def _branch_of(recorded: RecordedSession, course: Course, values: Values, at: float) -> str:
    """The branch that an event is about, opened where it is new."""
    branch_id = as_id(_text(values, "branch_id") or MAIN)
    agent = _text(values, "agent_name")
    if not recorded.has_branch(branch_id):
        parent = course.parents.pop(agent, "") if branch_id != MAIN else ""
        recorded.branch(
            branch_id,
            branch_id if branch_id == MAIN else agent or branch_id,
            parents=[parent] if parent else [],
            branch_type=BranchType.PARALLEL if parent else None,
            agent=agent,
            at=_moment(at),
        )
    return branch_id


# Runs…


async def _run_begins(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    course.is_told_of_end, course.ended, course.has_response, course.error = True, False, False, ""


async def _run_ends(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    course.ended = True
    if values.get("final_response") is not None:
        recorded.result("final_response", values["final_response"], _moment(at))
    if not values.get("success"):
        course.error = _text(values, "error") or "the run ended without success"


async def _execution_start(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    kept = {name: values[name] for name in ("task_summary", "agent_names") if values.get(name)}
    if kept:
        recorded.note("execution", kept, _moment(at))


async def _final_response(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    course.has_response = True
    if not values.get("success", True):
        course.error = course.error or "the run ended without success"
    if not course.is_told_of_end:
        recorded.result("final_response", values.get("final_response"), _moment(at))


# Branches…


async def _branch_created(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    name = _text(values, "branch_id")
    if name.startswith("parallel_group_"):
        return  # 0.2.1 tells so of a group of branches, each of which comes by itself.
    parent = course.homes.get(_text(values, "source_agent"), "")
    if values.get("parent_branch_id"):
        parent = as_id(_text(values, "parent_branch_id"))
    agents = values.get("target_agents") or [""]
    recorded.branch(
        as_id(name),
        _text(values, "branch_name") or name,
        parents=[parent] if parent else [],
        branch_type=BranchType.PARALLEL if values.get("trigger_type") == "parallel" else None,
        agent=str(agents[0]),
        at=_moment(at),
    )


async def _branch_completed(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    status = BranchStatus.COMPLETED if values.get("success") else BranchStatus.FAILED
    _end_step(recorded, course, branch_id, at)
    why = "" if values.get("success") else _text(values, "error") or "the branch ended without success"
    recorded.branch_is(branch_id, status, why=why, at=_moment(at))


async def _branch_status(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    status = _STATUSES.get(_text(values, "status").lower())
    branch_id = _branch_of(recorded, course, values, at)
    if status in {BranchStatus.WAITING, BranchStatus.COMPLETED, BranchStatus.FAILED, BranchStatus.CANCELLED}:
        recorded.branch_is(branch_id, status, at=_moment(at))


async def _parallel_group(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    if not values.get("branch_id"):
        return  # The 0.3 line says who invoked them with each of their branches.
    branch_id = _branch_of(recorded, course, values, at)
    agents = [str(agent) for agent in values.get("agent_names") or ()]
    if values.get("status") == "started":
        course.parents.update(dict.fromkeys(agents, branch_id))
        recorded.branch_is(branch_id, BranchStatus.WAITING, why=", ".join(agents), at=_moment(at))
    elif values.get("status") == "completed":
        recorded.branch_is(branch_id, BranchStatus.RUNNING, at=_moment(at))


async def _convergence(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    parent = as_id(_text(values, "parent_branch_id") or _text(values, "branch_id") or MAIN)
    children = [as_id(str(child)) for child in values.get("child_branch_ids") or ()]
    for number, child in enumerate(children, start=1):
        if recorded.has_branch(child):
            recorded.joined(parent, child, last=number == len(children), at=_moment(at))


# Agents…


def _step_id(course: Course, branch_id: str, values: Values) -> str:
    named = _text(values, "step_span_id")
    return f"{branch_id[:60]}:{as_id(named)}" if named else course.steps.get(branch_id, "")


async def _agent_start(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    _end_step(recorded, course, branch_id, at)
    step_id = _step_id(course, branch_id, values) or _next_step(recorded, course, branch_id)
    course.steps[branch_id] = step_id
    agent = _text(values, "agent_name")
    course.homes[agent] = branch_id
    course.numbered[agent, _text(values, "step_number")] = step_id
    recorded.step(
        branch_id, step_id, _text(values, "agent_name"), input=values.get("request_summary"), at=_moment(at)
    )


def _next_step(recorded: RecordedSession, course: Course, branch_id: str) -> str:
    number = course.numbers.get(branch_id, 0) + 1
    while recorded.has_step(f"{branch_id[:110]}:{number}"):
        number += 1
    course.numbers[branch_id] = number
    return f"{branch_id[:110]}:{number}"


def _end_step(recorded: RecordedSession, course: Course, branch_id: str, at: float) -> None:
    """One whose end was not told: another begins, or its branch ends."""
    step_id = course.steps.pop(branch_id, "")
    if step_id and recorded.is_running(step_id):
        recorded.step_ends(step_id, "", error="its end was not told", at=_moment(at))


async def _agent_complete(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    step_id = _step_id(course, branch_id, values) or _next_step(recorded, course, branch_id)
    agent = _text(values, "agent_name")
    recorded.step(branch_id, step_id, agent, at=_moment(at - (values.get("duration") or 0)))
    action = values.get("next_action")
    recorded.step_ends(
        step_id,
        agent,
        output=None if action is None else {"next_action": action},
        error="" if values.get("success") else _text(values, "error") or "the agent did not succeed",
        duration=values.get("duration"),
        at=_moment(at),
    )
    course.steps.pop(branch_id, None)


async def _step_result(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    """What `watched` saw of a step of 0.2.1: its events do not carry messages."""
    branch_id = _branch_of(recorded, course, values, at)
    await _remember(recorded, course, branch_id, _text(values, "agent_name"), values.get("messages"), at)


async def _messages_prepared(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    await _remember(recorded, course, branch_id, _text(values, "agent_name"), values.get("messages"), at)


async def _assistant_message(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    agent = _text(values, "agent_name")
    said = _message({**values, "role": "assistant"}, agent)
    course.memories.setdefault((branch_id, agent), []).append(fingerprint(message_document(said)))
    recorded.add_messages(branch_id, [said], _moment(at))


async def _remember(
    recorded: RecordedSession, course: Course, branch_id: str, agent: str, found: Any, at: float
) -> None:
    """An agent's memory as a whole: what is new in it joins the branch's; a memory that was compacted takes
    the place of what was recorded of this agent."""
    if not isinstance(found, list):
        return
    messages = [_message(entry, agent) for entry in found if isinstance(entry, Mapping)]
    new = [fingerprint(message_document(message)) for message in messages]
    old = course.memories.get((branch_id, agent), [])
    course.memories[branch_id, agent] = new
    if new[: len(old)] == old:
        recorded.add_messages(branch_id, messages[len(old) :], _moment(at))
    else:
        await recorded.flush()
        await recorded.memory_is(
            branch_id, [*recorded.memory_of_others(branch_id, agent), *messages], _moment(at)
        )


def _message(entry: Values, agent: str) -> Message:
    extra = {name: entry[name] for name in ("tool_calls", "tool_call_id") if entry.get(name)}
    name, content = entry.get("name"), entry.get("content")
    if content is None and "tool_calls" in extra:
        content = {"tool_calls": extra.pop("tool_calls")}
    return Message(
        str(entry.get("role") or "assistant"),
        content,
        agent=agent or None,
        name=None if name is None or name == agent else str(name),
        metadata=extra,
    )


def _said(role: str, *names: str) -> Meaning:
    """An event that is told as a message of its branch."""

    async def meaning(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
        branch_id = _branch_of(recorded, course, values, at)
        kept = {name: values[name] for name in names if values.get(name) not in (None, "", [])}
        if "duration" in kept:
            kept["duration"] = round(float(kept["duration"]), 3)
        content = next(iter(kept.values())) if len(names) == 1 and kept else kept
        message = Message(role, content, agent=_text(values, "agent_name") or None)
        recorded.add_messages(branch_id, [message], _moment(at))

    return meaning


_tool_said = _said("tool", "tool_name", "status", "arguments", "reasoning", "result_summary", "duration")


async def _llm_call(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    """What was said comes as messages; here, which model it was and how it went."""
    if values.get("status") == "started":
        return
    branch_id = _branch_of(recorded, course, values, at)
    step_id = _step_id(course, branch_id, values)
    if recorded.has_step(step_id):
        names = ("model_name", "provider", "kind", "status", "duration_ms", "error_type", "error_message")
        call = {name: values[name] for name in names if values.get(name) is not None}
        recorded.detail(step_id, f"model call {as_id(_text(values, 'request_id'))}".strip(), call)


async def _trace_span(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    """A span of the telemetry, once it is closed: a step's, or one within a step, which closes before it."""
    names = ("name", "status", "duration_ms", "attributes")
    kept = {name: values[name] for name in names if values.get(name)}
    if values.get("kind") != "step":
        label = f"{_text(values, 'kind')} {_text(values, 'span_id')}"
        course.spans.setdefault(_text(values, "parent_span_id"), {})[label] = kept
        return
    attributes = values.get("attributes") or {}
    step_id = course.numbered.get((_text(attributes, "agent_name"), _text(attributes, "step_number")), "")
    within = course.spans.pop(_text(values, "span_id"), {})
    if recorded.has_step(step_id):
        recorded.detail(step_id, "telemetry", {**kept, "spans": within})


# People, plans…


async def _user_interaction(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
    branch_id = _branch_of(recorded, course, values, at)
    if values.get("interaction_type") == "starting":
        question_id = f"{branch_id[:100]}.q{len(course.questions) + 1}-{int(at * 1000)}"
        course.questions[branch_id] = question_id
        agent = _text(values, "agent_name")
        recorded.asks(branch_id, question_id, values.get("prompt"), agent=agent, at=_moment(at))
    else:
        recorded.answered(branch_id, course.questions.get(branch_id, ""), at=_moment(at))


def _plan(change: Callable[[dict[str, Any], Values], None]) -> Meaning:
    async def meaning(recorded: RecordedSession, course: Course, values: Values, at: float) -> None:
        plan = course.plans.setdefault(_text(values, "agent_name"), {"items": {}})
        change(plan, values)
        recorded.note(
            "plans",
            {agent: {**one, "items": dict(one["items"])} for agent, one in course.plans.items()},
            _moment(at),
        )

    return meaning


def _plan_created(plan: dict[str, Any], values: Values) -> None:
    titles = values.get("item_titles") or []
    plan.update(goal=values.get("goal"), items={str(title): "pending" for title in titles})


def _plan_item(plan: dict[str, Any], values: Values) -> None:
    plan["items"][_text(values, "item_title")] = values.get("new_status") or "pending"


def _plan_item_removed(plan: dict[str, Any], values: Values) -> None:
    plan["items"].pop(_text(values, "item_title"), None)


def _plan_cleared(plan: dict[str, Any], values: Values) -> None:
    plan.update(items={}, cleared=values.get("reason"))


MEANINGS: Mapping[str, Meaning] = {
    "run begins": _run_begins,
    "run ends": _run_ends,
    "step result": _step_result,
    "span": _trace_span,
    "ExecutionStartEvent": _execution_start,
    "FinalResponseEvent": _final_response,
    "BranchCreatedEvent": _branch_created,
    "BranchCompletedEvent": _branch_completed,
    "BranchEvent": _branch_status,
    "ParallelGroupEvent": _parallel_group,
    "ConvergenceEvent": _convergence,
    "AgentStartEvent": _agent_start,
    "AgentThinkingEvent": _said("thought", "thought"),
    "AgentCompleteEvent": _agent_complete,
    "AgentMessagesPreparedEvent": _messages_prepared,
    "AssistantMessageEvent": _assistant_message,
    "LLMCallEvent": _llm_call,
    "ToolCallEvent": _tool_said,
    "UserInteractionEvent": _user_interaction,
    "ErrorEvent": _said(
        "error", "error_class", "error_message", "classification", "recoverable", "traceback"
    ),
    "CriticalErrorEvent": _said(
        "error", "error_type", "error_code", "message", "provider", "suggested_action"
    ),
    "ResourceLimitEvent": _said(
        "warning", "resource_type", "pool_name", "limit_value", "current_value", "suggestion"
    ),
    "CompactionEvent": _said(
        "compaction", "status", "pre_messages", "post_messages", "pre_tokens", "post_tokens"
    ),
    "PlanCreatedEvent": _plan(_plan_created),
    "PlanUpdatedEvent": _plan(_plan_item),
    "PlanItemAddedEvent": _plan(_plan_item),
    "PlanItemRemovedEvent": _plan(_plan_item_removed),
    "PlanClearedEvent": _plan(_plan_cleared),
}
"""Class of an event, or what `watched` and the sink tell beside them → what it means."""
