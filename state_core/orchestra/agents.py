"""Agents: callables ``async (request, context) -> response``; plain functions and one argument do, too."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from state_core.exceptions import AgentNotFound, ConfigurationError, InvalidValue

if TYPE_CHECKING:
    from state_core.orchestra.context import StepContext

AgentFunction = Callable[..., Any]
F = TypeVar("F", bound=AgentFunction)

NEXT = "$next"
"""Key of a step's recorded output that says which step follows in the same branch."""

_registered: dict[str, AgentFunction] = {}

_threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="state_core.agent")
"""Of plain functions. Many, since one that waits for branches it invoked keeps its thread."""


def agent(name: str) -> Callable[[F], F]:
    """Register a callable under a name that topologies use. A later one of the same name replaces it."""

    def register(function: F) -> F:
        Agent(name, function)
        _registered[name] = function
        return function

    return register


@dataclass(frozen=True)
class Handoff:
    """Return it from an agent: the branch goes on with a further step, by another agent."""

    agent: str
    request: Any = None


@dataclass(frozen=True)
class Again:
    """Return it from an agent: the branch goes on with a further step, by the same agent.

    Each step is durable and a pause point, so work that is cut into steps can stop and go on anywhere.
    """

    request: Any = None


def recorded(response: Any, agent_name: str) -> Any:
    """A response as the output of its step."""
    if isinstance(response, Again):
        response = Handoff(agent_name, response.request)
    if isinstance(response, Handoff):
        return {NEXT: {"agent": response.agent, "request": response.request}}
    if isinstance(response, Mapping) and NEXT in response:
        raise InvalidValue(f"A response must not have the key {NEXT!r}; return Again or Handoff instead.")
    return response


def response_of(output: Any) -> Any:
    """What a step's output says: the Handoff to the next step, or the response."""
    if isinstance(output, Mapping) and NEXT in output:
        return Handoff(output[NEXT]["agent"], output[NEXT]["request"])
    return output


def handed_on(output: Any) -> Handoff | None:
    """The same of an output that anybody may have recorded: None unless it is one of `recorded`."""
    given = output.get(NEXT) if isinstance(output, Mapping) and len(output) == 1 else None
    if isinstance(given, Mapping) and set(given) == {"agent", "request"} and isinstance(given["agent"], str):
        return Handoff(given["agent"], given["request"])
    return None


class Agent:
    """A named callable, ready to be called in the one way, whatever its own way is."""

    def __init__(self, name: str, function: AgentFunction) -> None:
        self.name = name
        self._function = function
        self._takes_context = _takes_context(name, function)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )

    async def __call__(self, request: Any, context: StepContext) -> Any:
        if self._is_async:
            return await self._function(*self._arguments(request, context))
        response = await self._in_thread(*self._arguments(request, context.for_thread()))
        return await response if inspect.isawaitable(response) else response

    def _arguments(self, request: Any, context: Any) -> tuple[Any, ...]:
        return (request, context) if self._takes_context else (request,)

    async def _in_thread(self, *arguments: Any) -> Any:
        call = functools.partial(contextvars.copy_context().run, self._called, *arguments)
        return await asyncio.get_running_loop().run_in_executor(_threads, call)

    def _called(self, *arguments: Any) -> Any:
        try:
            return self._function(*arguments)
        except StopIteration as error:
            # A future cannot carry it.
            raise RuntimeError(f"Agent {self.name!r} raised StopIteration.") from error


def _takes_context(name: str, function: AgentFunction) -> bool:
    if not callable(function):
        raise ConfigurationError(f"Agent {name!r} is a {type(function).__name__}, which cannot be called.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-ins do not tell
        return False
    for count in (2, 1):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count == 2 and _is_for_context(signature)
    raise ConfigurationError(
        f"Agent {name!r} takes {signature}; an agent takes (request, context) or (request)."
    )


def _is_for_context(signature: inspect.Signature) -> bool:
    """Not when it has a default: ``lambda request, name=name: …`` binds a value of its own there."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in signature.parameters.values() if p.kind in kinds]
    if len(positional) < 2:
        return True
    return positional[1].default is inspect.Parameter.empty or positional[1].name == "context"


class Agents:
    """Those given, and those registered with `agent`."""

    def __init__(self, given: Mapping[str, AgentFunction] | None = None) -> None:
        self._given = {name: Agent(name, function) for name, function in (given or {}).items()}

    @property
    def names(self) -> set[str]:
        return {*self._given, *_registered}

    def __getitem__(self, name: str) -> Agent:
        """Raises AgentNotFound."""
        if name in self._given:
            return self._given[name]
        if name in _registered:
            return Agent(name, _registered[name])
        raise AgentNotFound(name, self.names)

    def check(self, names: set[str]) -> None:
        """Raises AgentNotFound for the first that is not known."""
        for name in sorted(names - self.names):
            raise AgentNotFound(name, self.names)
