"""Waiting for several lines of execution without cutting any of them off in the middle of a step."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from state_core.exceptions import CancelRequested, LeaseError, PauseRequested, StepTimeout, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


UNRECORDABLE = (LeaseError, StorageError)
"""After these nothing can be written any more, not even that something failed."""


class Stopped(CancelRequested):
    """Raised at a step boundary because another branch has failed, or one before it did not complete."""


def _rank(error: BaseException) -> int:
    """Which of several reasons to stop is the one to tell: the lower the more important."""
    if isinstance(error, LeaseError):
        return 0
    if isinstance(error, Stopped):
        return 5
    if isinstance(error, PauseRequested):
        return 4
    return 3 if isinstance(error, CancelRequested) else 2


async def settle(tasks: Collection[asyncio.Task[Any]]) -> list[BaseException]:
    """Wait until all have ended; returns their errors, the most important first.

    Nobody is cancelled because a sibling failed. When the lease is lost nothing can be recorded any more,
    and when this very task is cancelled somebody wants an end: then all are.
    """
    errors: list[BaseException] = []
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            errors += [error for task in done if (error := _error(task))]
            if any(isinstance(error, LeaseError) for error in errors):
                _cancel(pending)
    except asyncio.CancelledError:
        _cancel(pending)
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return sorted(errors, key=_rank)


def raise_first(errors: Sequence[BaseException], *, but: type[Exception] | tuple[()] = ()) -> None:
    """Raise the first, save those of the kind ``but`` that something can still be recorded after."""
    for error in errors:
        if isinstance(error, UNRECORDABLE) or not isinstance(error, but):
            raise error


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


class StepClock:
    """A time-out that stands still while an agent waits for a person or for branches that it invoked."""

    def __init__(self, what: str, seconds: float | None) -> None:
        self._what = what
        self._seconds = seconds
        self._left = seconds
        self._scope = asyncio.timeout(seconds)
        self._stops = 0

    async def __aenter__(self) -> StepClock:
        await self._scope.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, tb: Any) -> None:
        try:
            await self._scope.__aexit__(kind, error, tb)
        except TimeoutError as expired:
            raise StepTimeout(
                f"{self._what} took longer than {self._seconds:g} s. Give it a longer step_timeout, "
                "or cut its work into steps with Again."
            ) from expired

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self._stop()
        try:
            yield
        finally:
            self._go_on()

    def _stop(self) -> None:
        self._stops += 1
        deadline = self._scope.when()
        if deadline is not None and not self._scope.expired():
            self._left = deadline - asyncio.get_running_loop().time()
            self._scope.reschedule(None)

    def _go_on(self) -> None:
        self._stops -= 1
        if self._stops == 0 and self._left is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time() + self._left)
