"""A tracer whose spans are recorded."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from state_core import StateManager
from state_core.adapters.opentelemetry import SessionSpanProcessor


class Traced:
    """A tracer whose spans are recorded in a store."""

    def __init__(self, storage: Any, **options: Any) -> None:
        self.manager = StateManager(storage)
        self.processor = SessionSpanProcessor(self.manager, **{"linger": 60, **options})
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests")

    def span(self, operation: str, name: str = "", **attributes: Any) -> Any:
        named = {"invoke_agent": "agent", "invoke_workflow": "workflow", "execute_tool": "tool"}
        given = {"gen_ai.operation.name": operation}
        if operation in named and name:
            given[f"gen_ai.{named[operation]}.name"] = name
        given.update({f"gen_ai.{key.replace('__', '.')}": value for key, value in attributes.items()})
        return self.tracer.start_as_current_span(f"{operation} {name}".strip(), attributes=given)

    def chat(self, *messages: tuple[str, str], answer: str = "", **attributes: Any) -> Any:
        return self.span(
            "chat",
            request__model="gpt-9",
            input__messages=json.dumps([said(*message) for message in messages]),
            output__messages=json.dumps([said("assistant", answer)]),
            **attributes,
        )

    async def state(self, session_id: str) -> Any:
        assert self.processor.force_flush()
        return await self.manager.get_session_state(session_id)

    async def kinds(self, session_id: str) -> list[str]:
        assert self.processor.force_flush()
        return [str(event.kind) for event in await self.manager.log.read(session_id)]


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
