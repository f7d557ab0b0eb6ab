"""Attempting a step: its time-out, and its retries with exponential back-off and jitter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from state_core.branch import Step
from state_core.exceptions import (
    AgentNotFound,
    ConfigurationError,
    InvalidValue,
    LeaseError,
    OrchestraError,
    StorageError,
)
from state_core.orchestra.agents import Agent
from state_core.orchestra.context import StepContext
from state_core.orchestra.tasks import StepClock

POINTLESS = (AgentNotFound, ConfigurationError, InvalidValue, LeaseError, StorageError)
"""A further attempt would end the same way, or could not be recorded."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a step may take and how often it is attempted."""

    step_timeout: float | None = None
    """Seconds for one attempt, not counting waits for a person or for invoked branches."""
    max_attempts: int = 1
    backoff: float = 0.5
    """Seconds before the second attempt; doubled each time. To each wait up to as much is added at random."""
    backoff_max: float = 30.0
    """Seconds; it is not doubled beyond."""

    def __post_init__(self) -> None:
        for name in ("step_timeout", "max_attempts", "backoff_max"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be more than 0.")
        if self.backoff < 0:
            raise ConfigurationError(f"backoff is {self.backoff!r}; it must be 0 or more.")


async def attempt_step(
    step: Step, agent: Agent, request: Any, limits: Limits, make_context: Callable[[StepClock], StepContext]
) -> Any:
    """The agent's response. Each failed attempt but the last is recorded as ``step.retried``."""
    failures: list[Exception] = []
    async for attempt in _retrying(step, limits):
        with attempt:
            if failures:
                await _begin_again(step, failures[-1])
            try:
                return await _attempt(step, agent, request, limits.step_timeout, make_context)
            except Exception as error:
                failures.append(error)
                raise
    raise AssertionError("tenacity re-raises the last error")


def _retrying(step: Step, limits: Limits) -> AsyncRetrying:
    async def sleep(seconds: float) -> None:
        await _sleep_unless_asked(step, seconds)

    return AsyncRetrying(
        stop=stop_after_attempt(limits.max_attempts),
        wait=wait_exponential(multiplier=limits.backoff, max=limits.backoff_max)
        + wait_random(0, limits.backoff),
        retry=retry_if_exception(
            lambda error: isinstance(error, Exception) and not isinstance(error, POINTLESS)
        ),
        sleep=sleep,
        reraise=True,
    )


async def _sleep_unless_asked(step: Step, seconds: float) -> None:
    """A pause or a cancellation does not wait for a back-off."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(step.branch.session.wait_until_asked(), seconds)


async def _begin_again(step: Step, failure: Exception) -> None:
    await step.branch.session.pause_point()
    await step.retry(failure)


async def _attempt(
    step: Step,
    agent: Agent,
    request: Any,
    seconds: float | None,
    make_context: Callable[[StepClock], StepContext],
) -> Any:
    clock = StepClock(f"Step {step.step_id} of agent {agent.name!r}", seconds)
    context = make_context(clock)
    try:
        async with clock:
            return await _called(agent, request, context)
    finally:
        context._close()


async def _called(agent: Agent, request: Any, context: StepContext) -> Any:
    try:
        return await agent(request, context)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        raise OrchestraError(
            f"Agent {agent.name!r} was cancelled from inside: something that it awaited was cancelled."
        ) from error
