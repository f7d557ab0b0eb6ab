"""OpenTelemetry: whatever is instrumented by the GenAI conventions shows up live as a session.

    provider = TracerProvider()
    provider.add_span_processor(SessionSpanProcessor("sqlite:///var/state.sqlite3"))

A conversation (``gen_ai.conversation.id``) is a session; without one, each trace is. Invoked agents and
workflows are branches; calls of models and tools are steps in them; captured messages are messages. The
processor only queues: a slow store never slows the program, and what did not fit into the queue stands in
the log as a gap. Other spans (of HTTP, of databases) are not recorded.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from state_core.adapters import genai
from state_core.adapters.recorded import RecordedSession
from state_core.adapters.recorder import Description, Recorder, Target
from state_core.exceptions import MissingExtra
from state_core.records import BranchStatus
from state_core.redaction import Redact, bounded, redacted

try:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
    from opentelemetry.trace import StatusCode
except ImportError as error:
    raise MissingExtra("opentelemetry-sdk", "opentelemetry") from error

TRACES = 10_000
"""Traces whose session is remembered after their last span."""
FAILED = "the span ended with an error"
MISSED = "its end was missed"


@dataclass(frozen=True, slots=True)
class _Began:
    """A span that is recorded began."""

    span_id: int
    trace_id: int
    ancestor: int | None
    """The nearest span above it that is recorded."""
    name: str
    attributes: Mapping[str, Any]
    at: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class _Ended:
    began: _Began
    """As it is known in the end: attributes may have been set meanwhile."""
    at: int
    error: str = ""
    detail: str = ""


@dataclass(slots=True)
class _Open:
    """A span under way, as it is recorded."""

    session_id: str
    branch_id: str
    step_id: str
    """Empty for a branch."""
    agent: str
    is_top: bool


@dataclass(slots=True)
class _Course:
    """A session that is open here."""

    open_spans: set[int] = field(default_factory=set)
    has_gap: bool = False
    """Ends may have been missed."""
    error: str = ""
    """Of the last top span."""
    idle_since: float = field(default_factory=time.monotonic)


class SessionSpanProcessor(SpanProcessor):
    """Records GenAI spans as sessions.

    ``target``: a StateManager, a store, or its URL. ``redact`` replaces `redaction.redacted`, which takes
    out what looks like a secret; ``capacity``: spans that wait to be recorded at most; ``linger``: seconds
    after its last span until a session counts as completed. It goes on when a further span comes.
    """

    def __init__(
        self,
        target: Target,
        *,
        redact: Redact = redacted,
        capacity: int = 10_000,
        linger: float = 5.0,
    ) -> None:
        self._recorder = SpanRecorder(target, redact, capacity=capacity, linger=linger)
        self._lines: dict[int, int | None] = {}
        """Span under way → itself where it is recorded, else the nearest above it that is."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        ancestor = self._lines.get(span.parent.span_id) if span.parent else None
        context = span.get_span_context()
        if context is None:
            return
        is_recorded = bool(genai.operation(span.attributes or {}))
        self._lines[context.span_id] = context.span_id if is_recorded else ancestor
        if is_recorded:
            self._recorder.put(_began(span, ancestor), f"{context.trace_id:032x}")

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        line = self._lines.pop(context.span_id, None)
        if genai.operation(span.attributes or {}):
            above = self._lines.get(span.parent.span_id) if span.parent else None
            ancestor = line if line != context.span_id else above
            self._recorder.put(_ended(span, ancestor), f"{context.trace_id:032x}")

    def shutdown(self) -> None:
        self._recorder.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._recorder.flush(timeout_millis / 1000)


def _began(span: ReadableSpan, ancestor: int | None) -> _Began:
    context = span.get_span_context()
    assert context is not None
    return _Began(
        span_id=context.span_id,
        trace_id=context.trace_id,
        ancestor=ancestor,
        name=span.name,
        attributes=dict(span.attributes or {}),
        at=span.start_time or time.time_ns(),
    )


def _ended(span: ReadableSpan, ancestor: int | None) -> _Ended:
    error, detail = _error(span)
    return _Ended(_began(span, ancestor), span.end_time or time.time_ns(), error, detail)


def _error(span: ReadableSpan) -> tuple[str, str]:
    if span.status.status_code != StatusCode.ERROR:
        return "", ""
    raised = next((e.attributes or {} for e in reversed(span.events) if e.name == "exception"), {})
    kind = (span.attributes or {}).get(genai.ERROR_TYPE) or raised.get("exception.type")
    said = span.status.description or raised.get("exception.message")
    line = ": ".join(str(part) for part in (kind, said) if part)
    return line or FAILED, str(raised.get("exception.stacktrace") or "")


class SpanRecorder(Recorder[_Began | _Ended]):
    """Says what a span is in a session."""

    def __init__(self, target: Target, redact: Redact, **options: Any) -> None:
        super().__init__(target, **options)
        self._redact = redact
        self._spans: dict[int, _Open] = {}
        self._courses: dict[str, _Course] = {}
        self._traces: OrderedDict[int, str] = OrderedDict()

    async def record(self, item: _Began | _Ended) -> None:
        if isinstance(item, _Began):
            await self._begins(item)
        else:
            await self._ends(item)

    async def record_gap(self, key: str, count: int, reason: str) -> None:
        session_id = self._traces.get(int(key, 16)) or _session_of_trace(int(key, 16))
        await super().record_gap(session_id, count, reason)
        self._course(session_id).has_gap = True

    async def settle(self) -> None:
        idle = time.monotonic() - self._linger
        for session_id, course in list(self._courses.items()):
            if not course.open_spans and course.idle_since <= idle:
                await self._finish(session_id)

    async def leave_all(self) -> None:
        for session_id, course in list(self._courses.items()):
            if not course.open_spans:
                await self._finish(session_id)
        await super().leave_all()

    async def _finish(self, session_id: str) -> None:
        course = self._courses.pop(session_id)
        recorded = self.opened(session_id)
        if recorded and course.error:
            await recorded.flush()
            await recorded.session.fail(course.error)
        await self.leave(session_id)

    async def _begins(self, span: _Began) -> RecordedSession:
        above = self._spans.get(span.ancestor) if span.ancestor is not None else None
        attributes = self._clean(span.attributes)
        session_id = above.session_id if above else self._session_id(span)
        name = genai.agent(attributes, span.name)
        recorded = await self.session(session_id, Description(title=name, workflow=name))
        self._course(session_id).open_spans.add(span.span_id)
        place = _branch(span, name) if _is_agent(attributes) else _step(span, attributes, above)
        place.session_id = session_id
        self._spans[span.span_id] = place
        if place.step_id:
            recorded.branch(place.branch_id, "calls", at=_moment(span.at))
            given = genai.call_input(attributes)
            recorded.step(place.branch_id, place.step_id, place.agent, input=given, at=_moment(span.at))
        else:
            parents = [above.branch_id] if above else []
            recorded.branch(place.branch_id, name, parents=parents, agent=name, at=_moment(span.at))
            recorded.session.step_entered(place.branch_id, name)
        return recorded

    async def _ends(self, span: _Ended) -> None:
        began = span.began
        if began.span_id not in self._spans:
            await self._begins(began)  # Its attributes came late, or its beginning was missed.
        place = self._spans.pop(began.span_id)
        recorded = await self.session(place.session_id)
        attributes = self._clean(began.attributes)
        error, detail = self._redact(span.error), self._redact(bounded(span.detail))
        if place.step_id:
            await self._step_ends(recorded, place, span, attributes, (error, detail))
        else:
            await self._branch_ends(recorded, place, span, attributes, (error, detail))
        course = self._course(place.session_id)
        course.open_spans.discard(began.span_id)
        if place.is_top:
            course.error = error
            self._end_what_was_missed(recorded, course)

    def _end_what_was_missed(self, recorded: RecordedSession, course: _Course) -> None:
        """A top span has ended, and no other is open: what still is within it has ended too."""
        if not course.has_gap or any(self._spans[span_id].is_top for span_id in course.open_spans):
            return
        for span_id in course.open_spans:
            place = self._spans.pop(span_id)
            recorded.session.step_left(place.branch_id)
        recorded.end_open_steps(MISSED)
        recorded.end_open_branches(BranchStatus.COMPLETED)
        course.open_spans.clear()
        course.has_gap = False

    async def _step_ends(
        self,
        recorded: RecordedSession,
        place: _Open,
        span: _Ended,
        attributes: Mapping[str, Any],
        failure: tuple[str, str],
    ) -> None:
        at = _moment(span.at)
        messages = genai.conversation(attributes, place.agent)
        if messages and attributes.get(genai.OPERATION) != genai.EXECUTE_TOOL:
            await recorded.memory_is(place.branch_id, messages, at)
        recorded.step_ends(
            place.step_id,
            place.agent,
            output=genai.call_output(attributes),
            error=failure[0],
            detail=failure[1],
            duration=_seconds(span),
            at=at,
        )

    async def _branch_ends(
        self,
        recorded: RecordedSession,
        place: _Open,
        span: _Ended,
        attributes: Mapping[str, Any],
        failure: tuple[str, str],
    ) -> None:
        at = _moment(span.at)
        recorded.session.step_left(place.branch_id)
        if not recorded.messages_of(place.branch_id):
            recorded.add_messages(place.branch_id, genai.conversation(attributes, place.agent), at)
        if not recorded.has_steps(place.branch_id):
            self._whole_as_step(recorded, place, span, failure)
        recorded.branch_is(place.branch_id, _outcome(failure[0]), why=failure[1] or failure[0], at=at)

    @staticmethod
    def _whole_as_step(
        recorded: RecordedSession, place: _Open, span: _Ended, failure: tuple[str, str]
    ) -> None:
        """An agent that says nothing of what it did inside: its invocation is the step."""
        step_id = f"{place.branch_id}:1"
        recorded.step(place.branch_id, step_id, place.agent, at=_moment(span.began.at))
        recorded.step_ends(
            step_id,
            place.agent,
            error=failure[0],
            detail=failure[1],
            duration=_seconds(span),
            at=_moment(span.at),
        )

    def _clean(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: genai.parsed(value) for name, value in attributes.items()}
        clean: dict[str, Any] = self._redact(bounded(found))
        return clean

    def _course(self, session_id: str) -> _Course:
        course = self._courses.setdefault(session_id, _Course())
        course.idle_since = time.monotonic()
        return course

    def _session_id(self, span: _Began) -> str:
        given = str(span.attributes.get(genai.CONVERSATION) or "")
        session_id = as_id(given) or self._traces.get(span.trace_id) or _session_of_trace(span.trace_id)
        self._traces[span.trace_id] = session_id
        self._traces.move_to_end(span.trace_id)
        if len(self._traces) > TRACES:
            self._traces.popitem(last=False)
        return session_id


def _is_agent(attributes: Mapping[str, Any]) -> bool:
    return genai.operation(attributes) in genai.AGENTS


def _branch(span: _Began, name: str) -> _Open:
    branch_id = f"{as_id(name)[:100] or 'agent'}-{span.span_id:016x}"
    return _Open("", branch_id, "", name, is_top=span.ancestor is None)


def _step(span: _Began, attributes: Mapping[str, Any], above: _Open | None) -> _Open:
    agent = above.agent if above and not above.step_id else ""
    worker = genai.worker(attributes, span.name, agent)
    kind = genai.operation(attributes)
    branch_id = above.branch_id if above else f"calls-{span.trace_id:032x}"
    return _Open("", branch_id, f"{kind}-{span.span_id:016x}", worker, is_top=above is None)


def _outcome(error: str) -> BranchStatus:
    return BranchStatus.FAILED if error else BranchStatus.COMPLETED


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _seconds(span: _Ended) -> float:
    return round(max(0, span.at - span.began.at) / 1e9, 6)


def _session_of_trace(trace_id: int) -> str:
    return f"trace-{trace_id:032x}"


def as_id(text: str) -> str:
    """A foreign name as an id of ours; "" where nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", text).strip("-.")[:128]
