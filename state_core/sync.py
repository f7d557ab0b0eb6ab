"""The sync face, for programs without an event loop.

    manager.sync.list_sessions()
    with manager.sync.session("research_2024") as session:
        branch = session.open_branch("collect")

One event loop in a thread of its own runs what is asked; coroutine methods wait for their result, async
context managers become ordinary ones, and what they return is wrapped the same way.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any


class LoopThread:
    """An event loop that runs in a daemon thread from first use on."""

    def __init__(self, name: str = "state_core.sync") -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.submit(coroutine).result()

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Have it run there; `asyncio.wrap_future` waits for it in another loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True).start()
            return self._loop


shared = LoopThread()
"""The one that serves a process."""


class SyncFace:
    """Stands for an object of this library; its coroutine methods can be called without ``await``."""

    def __init__(self, target: Any, thread: LoopThread = shared) -> None:
        self._target = target
        self._thread = thread

    def __repr__(self) -> str:
        return f"<sync {self._target!r}>"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._calling(value) if inspect.isroutine(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._target, name, value)

    def _calling(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            args = tuple(_unwrapped(arg) for arg in args)
            kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
            return self._wrapped(self._run(function, args, kwargs))

        return call

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        async def in_loop() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return self._thread.run(in_loop())

    def _wrapped(self, value: Any) -> Any:
        module = type(value).__module__
        if isinstance(value, AbstractAsyncContextManager) or module in {
            "state_core.session",
            "state_core.branch",
        }:
            return SyncFace(value, self._thread)
        return value

    def __enter__(self) -> Any:
        return self._wrapped(self._thread.run(self._target.__aenter__()))

    def __exit__(self, *exc: Any) -> Any:
        return self._thread.run(self._target.__aexit__(*exc))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_unwrapped(part) for part in value]
    return value._target if isinstance(value, SyncFace) else value
