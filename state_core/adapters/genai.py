"""The GenAI semantic conventions of OpenTelemetry, as far as they are read and written here.

They are in development upstream and change: everything that depends on their version is in this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from state_core.records import Message

VERSION = "0.1.0"
"""Of open-telemetry/semantic-conventions-genai, which is what is written; older names are read, too."""

OPERATION = "gen_ai.operation.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT = "gen_ai.agent.name"
AGENT_ID = "gen_ai.agent.id"
WORKFLOW = "gen_ai.workflow.name"
TOOL = "gen_ai.tool.name"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
INSTRUCTIONS = "gen_ai.system_instructions"
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
FINISH_REASONS = "gen_ai.response.finish_reasons"
ERROR_TYPE = "error.type"

INVOKE_AGENT = "invoke_agent"
INVOKE_WORKFLOW = "invoke_workflow"
EXECUTE_TOOL = "execute_tool"
AGENTS = frozenset({INVOKE_AGENT, INVOKE_WORKFLOW})
"""Operations that are a branch: others happen inside of them."""
CALLS = frozenset(
    {
        EXECUTE_TOOL,
        "chat",
        "generate_content",
        "text_completion",
        "embeddings",
        "retrieval",
        "create_agent",
    }
)
"""Operations that are a step."""

# Our own, beside the conventions'…
CHECKPOINT_ID = "state_core.checkpoint.id"
CHECKPOINT_NAME = "state_core.checkpoint.name"
BYTES_WRITTEN = "state_core.bytes_written"
LIBRARY_VERSION = "state_core.version"
BACKEND = "state_core.backend"
BRANCH_ID = "state_core.branch.id"
STEP_ID = "state_core.step.id"
ATTEMPT = "state_core.step.attempt"
STATUS = "state_core.status"

Attributes = Mapping[str, Any]
_PARAMETERS = "gen_ai.request."
_USAGE = "gen_ai.usage."


def operation(attributes: Attributes) -> str:
    """Which of the operations that are recorded here; "" for any other span."""
    found = str(attributes.get(OPERATION, ""))
    return found if found in AGENTS or found in CALLS else ""


def agent(attributes: Attributes, span_name: str) -> str:
    """Who is at work: an agent or a workflow, else what the span is called."""
    named = attributes.get(AGENT) or attributes.get(WORKFLOW) or attributes.get(AGENT_ID)
    return str(named or span_name.removeprefix(f"{attributes.get(OPERATION)} "))


def worker(attributes: Attributes, span_name: str, of_agent: str) -> str:
    """Who a step is by: the tool, else the agent that called, else the model."""
    if attributes.get(OPERATION) == EXECUTE_TOOL:
        return str(attributes.get(TOOL) or span_name.removeprefix("execute_tool "))
    model = attributes.get(MODEL) or attributes.get(RESPONSE_MODEL)
    return str(attributes.get(AGENT) or of_agent or model or span_name)


def call_input(attributes: Attributes) -> Any:
    if attributes.get(OPERATION) == EXECUTE_TOOL:
        return parsed(attributes.get(TOOL_ARGUMENTS))
    provider = next((attributes[name] for name in PROVIDER if name in attributes), None)
    found = {"operation": attributes.get(OPERATION), "provider": provider, **_with(attributes, _PARAMETERS)}
    return {name: value for name, value in found.items() if value is not None}


def call_output(attributes: Attributes) -> Any:
    if attributes.get(OPERATION) == EXECUTE_TOOL:
        return parsed(attributes.get(TOOL_RESULT))
    found = {
        "model": attributes.get(RESPONSE_MODEL),
        "finish_reasons": attributes.get(FINISH_REASONS),
        "usage": _with(attributes, _USAGE),
    }
    return {name: value for name, value in found.items() if value} or None


def _with(attributes: Attributes, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): v for name, v in attributes.items() if name.startswith(prefix)}


def conversation(attributes: Attributes, agent_name: str) -> list[Message]:
    """The messages that a model or an agent was given and answered, where they were captured."""
    return [
        *_instructions(attributes),
        *_messages(attributes, INPUT, agent_name),
        *answer(attributes, agent_name),
    ]


def answer(attributes: Attributes, agent_name: str) -> list[Message]:
    return list(_messages(attributes, OUTPUT, agent_name))


def _instructions(attributes: Attributes) -> Iterator[Message]:
    parts = parsed(attributes.get(INSTRUCTIONS))
    if parts:
        yield Message("system", _content(parts))


def _messages(attributes: Attributes, name: str, agent_name: str) -> Iterator[Message]:
    found = parsed(attributes.get(name))
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, Mapping):
            role = str(entry.get("role", "assistant"))
            content = _content(entry["parts"] if "parts" in entry else entry.get("content"))
            by = agent_name if role == "assistant" else None
            yield Message(role, content, agent=by, name=_text(entry.get("name")))


def _content(parts: Any) -> Any:
    """Text where there is nothing but text, else the parts as they are."""
    if isinstance(parts, Sequence) and not isinstance(parts, str):
        texts = [part.get("content") for part in parts if _is_text(part)]
        if texts and len(texts) == len(parts):
            return "\n".join(map(str, texts))
        return list(parts)
    return parts


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def parsed(value: Any) -> Any:
    """Structured values come as JSON text where an exporter knows no better."""
    if not isinstance(value, str) or value[:1] not in {"{", "["}:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
