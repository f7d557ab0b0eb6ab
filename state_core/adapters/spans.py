"""The other way: sessions of ours as OpenTelemetry spans, for whatever collects those.

    exporter = OTLPSpanExporter(endpoint="http://collector:4318/v1/traces")
    await SpanFollower("postgresql://…", exporter).follow()

It follows the logs of a store. A session is a trace: the session, its branches and its steps are spans by the
GenAI conventions, exported when they have ended; a checkpoint is a span without length. Ids are derived from
ours: who follows again from an earlier time exports the same spans under the same ids.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from state_core.adapters import genai
from state_core.adapters.recorder import Target, manager_on
from state_core.events import Event, EventKind
from state_core.exceptions import MissingExtra, SessionNotFound, StateError, StorageUnavailable
from state_core.fold import apply_event, empty_document
from state_core.log import Range
from state_core.records import Document, Head, parse_time, utc_now
from state_core.storage.base import HeadQuery

try:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode
except ImportError as error:
    raise MissingExtra("opentelemetry-sdk", "opentelemetry") from error

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=10)
"""How far back each look goes: events may bear an earlier time than that at which they were stored."""
PAGE = 200
FOLLOWED = 500
"""Sessions whose outline is kept between two looks."""
AT_ONCE = 500
"""Spans that the exporter is given at once."""

_SESSION_ENDS = {EventKind.SESSION_COMPLETED, EventKind.SESSION_FAILED, EventKind.SESSION_CANCELLED}
_BRANCH_ENDS = {EventKind.BRANCH_COMPLETED, EventKind.BRANCH_FAILED, EventKind.BRANCH_CANCELLED}
_STEP_ENDS = {EventKind.STEP_COMPLETED, EventKind.STEP_FAILED}


class SpanFollower:
    """Exports what happens in the sessions of a store.

    ``target``: a StateManager, a store, or its URL. ``exporter``: any of OpenTelemetry's. ``since``: whatever
    ended from then on; by default from now on. ``content``: export inputs and outputs of steps, too; they may
    be private. ``interval``: seconds between two looks.
    """

    def __init__(
        self,
        target: Target,
        exporter: SpanExporter,
        *,
        since: datetime | None = None,
        content: bool = False,
        interval: float = 1.0,
        resource: Resource | None = None,
    ) -> None:
        self._manager = manager_on(target)
        self._exporter = exporter
        self._since = since or utc_now()
        self._content = content
        self._interval = interval
        self._resource = resource or Resource.create({"service.name": "state_core"})
        self._looked_at = self._since
        self._cursors: OrderedDict[str, int] = OrderedDict()
        self._documents: dict[str, Document] = {}

    async def follow(self) -> None:
        """Until it is cancelled; lives through outages of the store and of what it exports to."""
        try:
            while True:
                try:
                    await self.catch_up()
                except StorageUnavailable as error:
                    logger.warning("%s Trying again.", error)
                await asyncio.sleep(self._interval)
        finally:
            await asyncio.shield(asyncio.to_thread(self._exporter.shutdown))

    async def catch_up(self) -> int:
        """Export what has ended since the last look; returns how many spans that were. What the exporter does
        not take is tried again at the next look."""
        began = utc_now()
        exported = 0
        complete = True
        async for head in self._moved():
            count = await self._export_session(head)
            complete = complete and count is not None
            exported += count or 0
        if complete:
            self._looked_at = began
        return exported

    async def _moved(self) -> Any:
        """Heads of the sessions that have moved on."""
        query = HeadQuery(since=self._looked_at - WINDOW, sort="session_id", limit=PAGE)
        while True:
            heads = await self._manager.storage.heads(query)
            for head in heads:
                if head.last_seq > self._cursors.get(head.session_id, 0):
                    yield head
            if len(heads) < PAGE:
                return
            query = HeadQuery(since=query.since, sort="session_id", limit=PAGE, after=query.cursor(heads[-1]))

    async def _export_session(self, head: Head) -> int | None:
        """None where the exporter did not take it, or it cannot be read."""
        session_id = head.session_id
        try:
            spans = [span async for span in self._spans(head)]
        except SessionNotFound:
            return 0  # Deleted meanwhile.
        except StorageUnavailable:
            self._documents.pop(session_id, None)
            raise
        except StateError as error:
            logger.error("Session %s is not exported from here on: %s", session_id, error)
            self._remember(session_id, head.last_seq)
            return 0
        if not await self._export(spans):
            self._documents.pop(session_id, None)
            return None
        self._remember(session_id, head.last_seq)
        return len(spans)

    async def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        for start in range(0, len(spans), AT_ONCE):
            try:
                result = await asyncio.to_thread(self._exporter.export, spans[start : start + AT_ONCE])
            except Exception:
                logger.exception("The exporter failed; it is tried again.")
                return False
            if result != SpanExportResult.SUCCESS:
                logger.warning("The exporter did not take %d spans; it is tried again.", len(spans))
                return False
        return True

    def _remember(self, session_id: str, seq: int) -> None:
        self._cursors[session_id] = seq
        self._cursors.move_to_end(session_id)
        for old in list(self._documents)[: max(0, len(self._documents) - FOLLOWED)]:
            del self._documents[old]

    async def _spans(self, head: Head) -> Any:
        document = await self._document(head)
        log = self._manager.log
        span = Range(document["seq"], head.last_seq)
        trace = _Trace(head, self._resource, type(self._manager.storage).__name__)
        async for event in log.iterate(head.session_id, span, bodies=self._content):
            if event.kind == EventKind.SESSION_RESTORED:
                document = await self._read(head, event.seq)
            else:
                apply_event(document, event)
            if event.at >= self._since:
                for made in trace.ended(document, event):
                    yield made
        self._documents[head.session_id] = document

    async def _document(self, head: Head) -> Document:
        """The outline, or the state where content is wanted, at the place that was reached."""
        cursor = self._cursors.get(head.session_id, 0)
        kept = self._documents.pop(head.session_id, None)
        if kept is not None and kept["seq"] == cursor:
            return kept
        reached = max(cursor, head.first_seq if head.first_seq > 1 or head.origin else 0)
        return await self._read(head, reached) if reached else empty_document(head.session_id)

    async def _read(self, head: Head, seq: int) -> Document:
        log = self._manager.log
        return await (log.document if self._content else log.outline)(head.session_id, seq)


class _Trace:
    """A session as a trace."""

    def __init__(self, head: Head, resource: Resource, backend: str) -> None:
        self._head = head
        self._resource = resource
        self._common = {
            genai.CONVERSATION: head.session_id,
            genai.LIBRARY_VERSION: _version(),
            genai.BACKEND: backend,
        }
        self._trace_id = _number(16, head.session_id, str(head.created_at))
        self._scope = InstrumentationScope("state_core", _version())

    def ended(self, document: Document, event: Event) -> Iterator[ReadableSpan]:
        """The spans that ended with this event, which ``document`` has taken in."""
        if event.kind in _STEP_ENDS:
            yield self._step(document, event)
        elif event.kind in _BRANCH_ENDS:
            yield self._branch(document, event)
        elif event.kind in _SESSION_ENDS:
            yield self._session(document, event)
        elif event.kind == EventKind.CHECKPOINT_CREATED:
            yield self._checkpoint(event)

    def _session(self, document: Document, event: Event) -> ReadableSpan:
        name = self._head.workflow or self._head.title or self._head.session_id
        attributes = {
            genai.OPERATION: genai.INVOKE_WORKFLOW,
            genai.AGENT: name,
            genai.BYTES_WRITTEN: self._head.counts["stored_bytes"],
            genai.STATUS: document["status"],
        }
        began = document["started_at"] or document["created_at"]
        error = str(document["error"] or "failed") if event.kind == EventKind.SESSION_FAILED else ""
        return self._span(f"invoke_workflow {name}", "session", None, attributes, (began, event.at), error)

    def _branch(self, document: Document, event: Event) -> ReadableSpan:
        branch = document["branches"][event.branch_id]
        parents = branch["parent_ids"]
        name = branch["agent"] or branch["name"]
        attributes = {
            genai.OPERATION: genai.INVOKE_AGENT,
            genai.AGENT: name,
            genai.BRANCH_ID: event.branch_id,
            genai.STATUS: branch["status"],
        }
        error = str(branch["error"] or "failed") if event.kind == EventKind.BRANCH_FAILED else ""
        parent = f"branch {parents[0]}" if parents else "session"
        times = (branch["opened_at"], event.at)
        return self._span(
            f"invoke_agent {name}", f"branch {event.branch_id}", parent, attributes, times, error
        )

    def _step(self, document: Document, event: Event) -> ReadableSpan:
        step = document["branches"][event.branch_id]["steps"][event.step_id]
        name = str(step["agent"] or event.step_id)
        # Steps that were spans before are called after their operation.
        operation = event.step_id.rpartition("-")[0]
        operation = operation if operation in genai.CALLS else genai.INVOKE_AGENT
        attributes = {
            genai.OPERATION: operation,
            genai.TOOL if operation == genai.EXECUTE_TOOL else genai.AGENT: name,
            genai.BRANCH_ID: event.branch_id,
            genai.STEP_ID: event.step_id,
            genai.ATTEMPT: step["attempt"],
            **_messages(step),
        }
        error = str(step["error"] or "failed") if event.kind == EventKind.STEP_FAILED else ""
        times = (step["started_at"], event.at)
        place, parent = f"step {event.step_id}", f"branch {event.branch_id}"
        return self._span(f"{operation} {name}", place, parent, attributes, times, error)

    def _checkpoint(self, event: Event) -> ReadableSpan:
        attributes = {
            genai.CHECKPOINT_ID: event.data["id"],
            genai.CHECKPOINT_NAME: event.data["name"],
            genai.BYTES_WRITTEN: event.data.get("size", 0),
        }
        name = f"checkpoint {event.data['name']}"
        return self._span(
            name, f"checkpoint {event.data['id']}", "session", attributes, (event.at, event.at), ""
        )

    def _span(
        self,
        name: str,
        place: str,
        parent: str | None,
        attributes: dict[str, Any],
        times: tuple[Any, datetime],
        error: str,
    ) -> ReadableSpan:
        began = parse_time(times[0]) or times[1]
        status = Status(StatusCode.ERROR, error.strip().splitlines()[-1]) if error else Status(StatusCode.OK)
        if error:
            attributes = {**attributes, genai.ERROR_TYPE: error.partition(":")[0][:100]}
        return ReadableSpan(
            name=name,
            context=self._context(place),
            parent=None if parent is None else self._context(parent),
            resource=self._resource,
            attributes={**self._common, **attributes},
            kind=SpanKind.INTERNAL,
            status=status,
            start_time=_nanoseconds(began),
            end_time=_nanoseconds(max(began, times[1])),
            instrumentation_scope=self._scope,
        )

    def _context(self, place: str) -> SpanContext:
        span_id = _number(8, self._head.session_id, str(self._head.created_at), place)
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(self._trace_id, span_id, is_remote=False, trace_flags=flags)


def _messages(step: Document) -> dict[str, str]:
    """Input and output, where the content was read."""
    parts = ((genai.INPUT, "user", step["input"]), (genai.OUTPUT, "assistant", step["output"]))
    return {
        name: json.dumps([{"role": role, "parts": [{"type": "text", "content": _as_text(value)}]}])
        for name, role, value in parts
        if value is not None
    }


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(size: int, *parts: str) -> int:
    digest = hashlib.blake2b("\x00".join(parts).encode("utf-8", "replace"), digest_size=size).digest()
    return int.from_bytes(digest, "big") or 1


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _version() -> str:
    try:
        return version("marsys-dashboard")
    except PackageNotFoundError:
        return "unknown"
