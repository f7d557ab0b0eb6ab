"""MARSYS's telemetry (0.3 line): closed spans as details of the steps that they belong to.

    live = MarsysLive("sqlite:///var/state.sqlite3")
    config = ExecutionConfig(tracing=TracingConfig(enabled=True, sinks=[MarsysSink(live, session_id="s")]))

The EventBus says when something begins; a span says, redacted by MARSYS, how it went.
"""

from __future__ import annotations

from typing import Any

from state_core.adapters.marsys.live import MarsysLive


class MarsysSink:
    """A `TelemetrySink` by its shape. It only queues; closing it leaves the recorder open for others."""

    def __init__(self, live: MarsysLive, *, session_id: str = "") -> None:
        """``session_id``: of spans that do not say theirs; by default the trace's id."""
        self._live = live
        self._session_id = session_id

    async def publish_span(self, span: Any) -> None:
        values = {
            "span_id": span.span_id,
            "parent_span_id": span.parent_span_id,
            "kind": span.kind,
            "name": span.name,
            "status": span.status,
            "duration_ms": span.duration_ms,
            "attributes": dict(span.attributes or {}),
        }
        own = values["attributes"].get("session_id") or self._session_id or span.trace_id
        self._live.tell(str(own), "span", values)

    async def close(self) -> None:
        """What was published is recorded by and by; `MarsysLive.flush` waits for it."""

    def bind_message_store(self, store: Any) -> None:
        """References to messages stay as they are: the messages themselves come over the bus."""
