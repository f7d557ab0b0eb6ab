"""The sockets of the dashboard. A socket is a hint, the store is the truth.

A browser says ``{"after": n}`` when it connects, and whenever it finds a gap; it is sent frames from n + 1
on, and says ``{"ack": n}`` now and then. A slow browser costs bounded memory: with too much unacknowledged,
frames are let go, and it catches up from the store once it has read what it was sent. One that nobody looks
at says ``{"rest": true}``, and is told the session's status alone until it asks again.

A list says ``{"since": time}`` when it connects, and is sent the rows that changed since then. It may rest,
too, and go on with ``{"rest": false}``; where something happened meanwhile it is told so, and asks for the
page. It says which rows it shows, ``{"shown": [[store, id], …]}``, and is told when one of them is deleted.

Close codes: 4400 a message that makes no sense, 4401 not signed in, 4403 no permission, 4404 no such
session, or nothing at this address; 4500 something went wrong here, 4503 the store cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from datetime import UTC, datetime
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path, re_path

from marsys_dashboard import feed, frames, managers
from marsys_dashboard.frames import Frame
from marsys_dashboard.hub import LIST, Topic
from marsys_dashboard.needs_watch import needs_watch
from marsys_dashboard.presence import Presence
from marsys_dashboard.viewers import Refused, check, door
from marsys_dashboard.watched import Watched
from state_core.exceptions import InvalidId, NotFound, SessionNotFound, StateError, StorageUnavailable
from state_core.records import check_id

logger = logging.getLogger(__name__)

UNREAD_FRAMES = 64
UNREAD_BYTES = 1_000_000
"""How much may be on its way to a browser that has not acknowledged it."""
QUEUE = UNREAD_FRAMES + 16
LARGEST_MESSAGE = 1_000
"""Characters of what a browser may say."""
MOST_SHOWN = 300
"""Rows of the list that a browser may have looked after."""
LARGEST_LIST = MOST_SHOWN * 300
RECHECK = 60.0
"""Seconds between two looks whether who watches may still do so, at most."""
RETRY = 1.0
MALFORMED, MISSING, BROKEN, UNAVAILABLE = 4400, 4404, 4500, 4503


class Socket(AsyncWebsocketConsumer):
    """Signed-in people with the permission to view; one outgoing queue of bounded length."""

    largest = LARGEST_MESSAGE

    async def connect(self) -> None:
        self._outgoing: asyncio.Queue[str] = asyncio.Queue(QUEUE)
        self._tasks: set[asyncio.Task[None]] = set()
        await self.accept()
        try:
            await check(self.scope["user"])
            await self.begin()
        except Refused as refused:
            await self._refuse(refused)
            return
        self.spawn(self._write())
        self.spawn(self._recheck())
        needs_watch.join(self)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """What a browser says asks Django's database nothing: it is spared the hop to the one thread of its
        connections that Channels makes for every message, behind whatever is under way there."""
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        else:
            await super().dispatch(message)

    async def begin(self) -> None:
        """Join what is to be watched. Raises Refused."""
        raise NotImplementedError

    def end(self) -> None:
        """Leave it. Called once, also when `begin` failed."""
        raise NotImplementedError

    async def disconnect(self, code: int) -> None:
        for task in self._tasks:
            task.cancel()
        needs_watch.leave(self)
        self.end()

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            logger.error("A socket's task failed.", exc_info=task.exception())
            self.spawn(self.close(BROKEN))

    async def _recheck(self) -> None:
        while True:
            # Not all at once, where many came at once.
            await asyncio.sleep(RECHECK * random.uniform(0.5, 1))  # noqa: S311
            try:
                await door.check_again(self.scope)
            except Refused as refused:
                await self._refuse(refused)

    async def _refuse(self, refused: Refused) -> None:
        refusal = {"type": "refused", "code": refused.code, "message": str(refused)}
        await self.send(text_data=frames.encode(refusal))
        await self.close(refused.code)

    async def _write(self) -> None:
        while True:
            # Not by `send`: thousands are sent a second, and each of its layers is felt.
            await self.base_send({"type": "websocket.send", "text": await self._outgoing.get()})

    def tell(self, text: str) -> None:
        if not self._outgoing.full():
            self._outgoing.put_nowait(text)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            self.said(_parsed(text_data, self.largest))
        except (ValueError, RecursionError) as error:
            await self._refuse(Refused(MALFORMED, f"The message makes no sense: {error}"))

    def said(self, message: dict[str, Any]) -> None:
        """Raises ValueError for what makes no sense."""


def _parsed(text: str | None, largest: int) -> dict[str, Any]:
    if text is None or len(text) > largest:
        raise ValueError("it is too long or not text")
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("it is not an object")
    return message


def _seq(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not the number of an event")
    return value


presence = Presence(lambda topic, text: feed.feed.hub.tell(topic, text))
"""Of this process."""


class SessionSocket(Socket):
    """Frames of one session, in order and without gaps, from where the browser says that it is."""

    watched: Watched | None = None

    async def begin(self) -> None:
        self._sent = 0
        self._unread: deque[tuple[int, int]] = deque()
        self._unread_bytes = 0
        self._behind = True
        self._catching_up = False
        self._asked = False
        self._resting = False
        self._told = ""
        route = self.scope["url_route"]["kwargs"]
        self.topic: Topic = (route["store"], route["session_id"])
        try:
            check_id(route["session_id"])
            self.watched = await feed.feed.watch(self.topic, self)
        except (NotFound, InvalidId) as error:
            raise Refused(MISSING, str(error)) from error
        except StorageUnavailable as error:
            raise Refused(UNAVAILABLE, str(error)) from error
        except StateError as error:
            raise Refused(BROKEN, str(error)) from error
        self._name = self.scope["user"].get_username()
        self.tell(presence.enter(self.topic, self._name))
        if self._asked:
            self._catch_up_soon()

    def end(self) -> None:
        if self.watched:
            presence.leave(self.topic, self._name)
            feed.feed.leave(self.topic, self)

    # What the browser says

    def said(self, message: dict[str, Any]) -> None:
        if "after" in message:
            self._sent = _seq(message["after"])
            self._unread.clear()
            self._unread_bytes = 0
            self._behind = self._asked = True
            self._resting = False
        elif "ack" in message:
            self._acknowledged(_seq(message["ack"]))
        elif message.get("rest"):
            self._rest()
        if self._behind and self._asked:
            self._catch_up_soon()

    def _rest(self) -> None:
        self._resting = self._behind = True
        self._asked = False
        self._told = self.watched.status if self.watched else ""

    def _acknowledged(self, seq: int) -> None:
        while self._unread and self._unread[0][0] <= seq:
            self._unread_bytes -= self._unread.popleft()[1]

    # What the hub offers

    def offer(self, frame: Frame) -> None:
        if self._resting and frame.status != self._told:
            self._told = frame.status
            self.tell(frames.pulse(frame.seq, frame.status))
        if self._behind or frame.seq < self._sent:
            return
        if frame.after > self._sent or not self._has_room:
            self._behind = True
            return
        self._push(frame)

    @property
    def _has_room(self) -> bool:
        return (
            len(self._unread) < UNREAD_FRAMES
            and self._unread_bytes < UNREAD_BYTES
            and not self._outgoing.full()
        )

    def _push(self, frame: Frame) -> None:
        self._outgoing.put_nowait(frame.text)
        self._unread.append((frame.seq, len(frame.text)))
        self._unread_bytes += len(frame.text)
        self._sent = frame.seq

    # Catching up from the store

    def _catch_up_soon(self) -> None:
        if self.watched and not self._catching_up:
            self._catching_up = True
            self.spawn(self._catch_up(self.watched))

    async def _catch_up(self, watched: Watched) -> None:
        try:
            while self._behind and self._asked and self._has_room:
                if self._sent >= watched.seq:
                    self._behind = False
                    self.tell(frames.pulse(watched.seq, watched.status))
                    return
                await self._send_page(watched)
        finally:
            self._catching_up = False

    async def _send_page(self, watched: Watched) -> None:
        after = self._sent
        try:
            frame = await watched.page(after)
        except SessionNotFound:
            self._behind = False
            self.tell(frames.gone())
            return
        except StateError as error:
            self.tell(frames.trouble(str(error)))
            await asyncio.sleep(RETRY)
            return
        if self._sent == after:
            self._push(frame)


class ListSocket(Socket):
    """Rows of the list of sessions as they change."""

    largest = LARGEST_LIST

    async def begin(self) -> None:
        from marsys_dashboard.list_rows import render_row

        self._resting = self._missed = False
        await feed.feed.watch_list(self, managers.store_names(), render_row)

    def end(self) -> None:
        feed.feed.leave(LIST, self)

    def said(self, message: dict[str, Any]) -> None:
        if "shown" in message:
            feed.feed.look_after(self, _shown(message["shown"]))
        elif "since" in message:
            self.spawn(self._begin(_moment(message["since"])))
        elif "rest" in message:
            self._rest(bool(message["rest"]))

    async def _begin(self, since: datetime) -> None:
        if listing := feed.feed.listing:
            super().tell(await listing.since(since))

    def _rest(self, resting: bool) -> None:
        self._resting = resting
        if self._missed and not resting:
            self.tell(frames.missed())
        self._missed = False

    def offer(self, frame: Frame) -> None:
        """Of a session: not for lists."""

    def tell(self, text: str) -> None:
        if self._resting and text.startswith(frames.LIST_BEGINS):
            self._missed = True
        else:
            super().tell(text)


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no moment with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value!r} is before or after all times") from error


def _shown(value: Any) -> set[tuple[str, str]]:
    if not isinstance(value, list) or len(value) > MOST_SHOWN:
        raise ValueError(f"it is no list of at most {MOST_SHOWN} rows")
    try:
        return {(str(store), check_id(session_id)) for store, session_id in value}
    except (TypeError, InvalidId) as error:
        raise ValueError("a row is a store and the id of a session") from error


class Nowhere(AsyncWebsocketConsumer):
    """Without it, whoever tries addresses fills the log with tracebacks."""

    async def connect(self) -> None:
        await self.close(MISSING)


websocket_urlpatterns = [
    path("ws/sessions/", ListSocket.as_asgi()),
    path("ws/sessions/<str:store>/<str:session_id>/", SessionSocket.as_asgi()),
    re_path("", Nowhere.as_asgi()),
]
