"""Hands what the feed makes to everybody in this process who watches, without copying or encoding again.

Everything here runs in one event loop and never waits: a slow listener can hold up nobody.
"""

from __future__ import annotations

from typing import Protocol

from marsys_dashboard.frames import Frame

Topic = tuple[str, str]
"""(store, session id)"""

LIST: Topic = ("", "")
"""The topic of the list of sessions."""


class Listener(Protocol):
    def offer(self, frame: Frame) -> None:
        """Something happened in the session."""

    def tell(self, text: str) -> None:
        """Something else is to be said. It may be lost when the listener is behind."""


class Hub:
    def __init__(self) -> None:
        self._listeners: dict[Topic, set[Listener]] = {}

    def join(self, topic: Topic, listener: Listener) -> None:
        self._listeners.setdefault(topic, set()).add(listener)

    def leave(self, topic: Topic, listener: Listener) -> None:
        listeners = self._listeners.get(topic, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(topic, None)

    def topics(self, store: str) -> list[Topic]:
        """The sessions of a store that somebody watches."""
        return [topic for topic in self._listeners if topic[0] == store and topic != LIST]

    def watched(self, topic: Topic) -> bool:
        return topic in self._listeners

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def publish(self, topic: Topic, frame: Frame) -> None:
        for listener in list(self._listeners.get(topic, ())):
            listener.offer(frame)

    def tell(self, topic: Topic, text: str) -> None:
        for listener in list(self._listeners.get(topic, ())):
            listener.tell(text)

    def tell_all(self, store: str, text: str) -> None:
        for topic in [*self.topics(store), LIST]:
            self.tell(topic, text)
