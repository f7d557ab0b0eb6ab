"""Who looks at a session: the people whose sockets are open, in this process and in others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from marsys_dashboard import frames
from marsys_dashboard.hub import Topic
from marsys_dashboard.neighbours import Neighbours, Visit

BEAT = 0.5
"""Seconds that comings and goings are gathered for before they are told."""
NAMED = 12
"""People that are named; more are counted."""


class Presence:
    def __init__(self, tell: Callable[[Topic, str], None]) -> None:
        self._tell = tell
        self._here: dict[Topic, Counter[str]] = {}
        self._due: dict[Topic, asyncio.TimerHandle] = {}
        self._neighbours = Neighbours(self._visits, self._tell_soon)

    def enter(self, topic: Topic, name: str) -> str:
        """Returns who is here, as a frame, for who has come."""
        here = self._here.setdefault(topic, Counter())
        here[name] += 1
        if here[name] == 1:
            self._neighbours.wake()
            if len(here) > 1:
                self._tell_soon(topic)
        return self._frame(topic)

    def leave(self, topic: Topic, name: str) -> None:
        here = self._here.get(topic)
        if here is None or name not in here:
            return
        here[name] -= 1
        if here[name]:
            return
        del here[name]
        if here:
            self._tell_soon(topic)
        else:
            del self._here[topic]
            self._forget(topic)
        self._neighbours.wake()

    def people(self, topic: Topic) -> list[str]:
        return sorted({*self._here.get(topic, ()), *self._neighbours.people(topic)})

    async def ended(self) -> None:
        """Once nobody looks at anything here: until other processes were told so."""
        await self._neighbours.ended()

    def _visits(self) -> set[Visit]:
        return {(topic, name) for topic, here in self._here.items() for name in here}

    def _tell_soon(self, topic: Topic) -> None:
        """A thousand who come at once are told of together."""
        if topic in self._here and topic not in self._due:
            self._due[topic] = asyncio.get_running_loop().call_later(BEAT, self._tell_now, topic)

    def _tell_now(self, topic: Topic) -> None:
        self._due.pop(topic, None)
        self._tell(topic, self._frame(topic))

    def _forget(self, topic: Topic) -> None:
        handle = self._due.pop(topic, None)
        if handle:
            handle.cancel()

    def _frame(self, topic: Topic) -> str:
        people = self.people(topic)
        return frames.presence(people[:NAMED], max(0, len(people) - NAMED))
