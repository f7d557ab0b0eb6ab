"""The feed: watches stores for whoever looks at a session, and tells them what the logs say.

Its cost grows with what is watched, not with what exists. The first watcher of a store starts it, the
last one stops it. A store that cannot be reached is asked again until it can; then everybody catches up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from marsys_dashboard import frames, managers
from marsys_dashboard.hub import LIST, Hub, Listener, Topic
from marsys_dashboard.list_watch import ListWatch, RenderRow
from marsys_dashboard.outlines import OutlineCache
from marsys_dashboard.watched import Watched
from state_core.exceptions import SessionNotFound, StateError, StorageUnavailable
from state_core.manager import StateManager
from state_core.records import HELD, Checkpoint, Document

logger = logging.getLogger(__name__)

BEAT = 0.1
"""Seconds from one look at a store to the next, and so from one frame of a session to the next."""
QUIET_BEAT = 0.002
"""The same, after a look that found nothing: what happens next goes out at once."""
SLOW_BEAT = 2.0
"""Seconds after which a store that wakes us up is asked all the same."""
LIST_BEAT = 0.1
"""The same, for the list."""
TEND = 2.0
"""Seconds between two looks for orchestrators that fell silent."""
LEASE_BEAT = 5.0
PULSE = 10.0
PATIENCE = (0.2, 0.5, 1.0, 2.0)
"""Seconds to wait after the first, second … failure to reach a store; the last one from then on."""


class Feed:
    def __init__(self, manager_of: Callable[[str], StateManager] = managers.manager) -> None:
        self.hub = Hub()
        self.cache = OutlineCache()
        self.watched: dict[Topic, Watched] = {}
        self.listing: ListWatch | None = None
        self._manager_of = manager_of
        self._stores: dict[str, StoreFeed] = {}
        self._waiting: dict[Topic, set[asyncio.Event]] = {}
        self._ending: list[asyncio.Task[None]] = []

    async def watch(self, topic: Topic, listener: Listener) -> Watched:
        """From now on ``listener`` is offered the session's frames. Raises StoreNotFound, SessionNotFound."""
        store, session_id = topic
        manager = self._manager_of(store)
        watched = self.watched.setdefault(topic, Watched(store, manager, session_id))
        self.hub.join(topic, listener)
        try:
            await watched.open(self.cache)
        except BaseException:
            self.leave(topic, listener)
            raise
        self._store_feed(store).start()
        return watched

    async def watch_list(self, listener: Listener, stores: list[str], render_row: RenderRow) -> None:
        """From now on ``listener`` is told rows that change."""
        self.listing = self.listing or ListWatch(self._manager_of, stores, render_row)
        self.hub.join(LIST, listener)
        try:
            await self.listing.begin()
        except BaseException:
            self.leave(LIST, listener)
            raise
        for store in stores:
            self._store_feed(store).start()

    def look_after(self, listener: Listener, rows: set[tuple[str, str]]) -> None:
        """``rows``: (store, session id) of those that the listener's list shows; it is told when one goes."""
        if self.listing:
            self.listing.shown[listener] = rows

    def leave(self, topic: Topic, listener: Listener) -> None:
        self.hub.leave(topic, listener)
        if topic == LIST and self.listing:
            self.listing.shown.pop(listener, None)
        if self.hub.watched(topic):
            return
        self.watched.pop(topic, None)
        if topic == LIST:
            self.listing = None
        self._stop_unwatched()

    def _stop_unwatched(self) -> None:
        wanted = {store for store, _session_id in self._waiting}
        for store, store_feed in list(self._stores.items()):
            if not (self.hub.topics(store) or self.hub.watched(LIST) or store in wanted):
                self._ending = [task for task in self._ending if not task.done()] + store_feed.stop()
                del self._stores[store]

    @asynccontextmanager
    async def hints(self, topic: Topic) -> AsyncIterator[asyncio.Event]:
        """Set each time the session may have something new, for who reads it by themselves. Only where its
        store wakes us up; where it does not, and now and then where it does, ask it all the same."""
        hint = asyncio.Event()
        self._waiting.setdefault(topic, set()).add(hint)
        self._store_feed(topic[0]).start()
        try:
            yield hint
        finally:
            self._waiting[topic].discard(hint)
            if not self._waiting[topic]:
                del self._waiting[topic]
            self._stop_unwatched()

    def hint(self, store: str, session_id: str) -> None:
        """Of any session of the store, where it is ``""``."""
        named = [(store, session_id)] if session_id else [t for t in self._waiting if t[0] == store]
        for topic in named:
            for hint in self._waiting.get(topic, ()):
                hint.set()

    async def ended(self) -> None:
        """Wait until nothing of what was stopped is under way any more."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _store_feed(self, store: str) -> StoreFeed:
        if store not in self._stores:
            self._stores[store] = StoreFeed(self, store, self._manager_of(store))
        return self._stores[store]

    @property
    def running(self) -> list[str]:
        """The stores that are being watched."""
        return list(self._stores)

    async def outline_of(self, store: str, session_id: str) -> tuple[Document, list[Checkpoint]]:
        """What headers say of a session now, and its checkpoints; for reading only."""
        manager = self._manager_of(store)
        outline = await self.cache.outline(store, manager, session_id)
        return outline.document, await manager.storage.checkpoints(session_id)


class Alarm:
    """Wakes who rests when something may have happened: a lone time at once, in a burst once a beat."""

    def __init__(self, beat: float) -> None:
        self._beat = beat
        self._rung = asyncio.Event()
        self._named: set[str] = set()
        self._woke = 0.0

    def ring(self, session_id: str) -> None:
        """Of this session, or of any where it is ``""``."""
        self._named.add(session_id)
        self._rung.set()

    def named(self) -> set[str] | None:
        """The sessions that it rang for since one asked last; None where it may be any."""
        named, self._named = self._named, set()
        return None if not named or "" in named else named

    async def rest(self, longest: float, *, busy: bool) -> None:
        """``busy``: was there something new when one looked last? Whoever looks for long rests as long."""
        began = time.monotonic()
        looked_for = began - self._woke
        with suppress(TimeoutError):
            # wait_for() of Python 3.11 loses a cancellation that comes together with the ring.
            async with asyncio.timeout(longest):
                await self._rung.wait()
        self._rung.clear()
        shortest = max(self._beat - looked_for, looked_for) if busy else QUIET_BEAT
        await asyncio.sleep(max(0.0, began + min(shortest, self._beat) - time.monotonic()))
        self._woke = time.monotonic()


class StoreFeed:
    """Notices what happens in one store."""

    def __init__(self, feed: Feed, store: str, manager: StateManager) -> None:
        self._feed = feed
        self._store = store
        self._manager = manager
        self._tasks: list[asyncio.Task[None]] = []
        self._sessions, self._list = Alarm(BEAT), Alarm(LIST_BEAT)
        self._busy = {self._sessions: False, self._list: False}
        self._stopped = False
        self._away_since: float | None = None
        self._leases_looked_at = self._pulsed = 0.0
        self._listening_since = time.monotonic()

    def start(self) -> None:
        if self._tasks:
            return
        rounds: list[tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = [
            (self._look, partial(self._rest_until_woken, self._sessions, BEAT)),
            (self._look_at_list, partial(self._rest_until_woken, self._list, LIST_BEAT)),
            (self._tend, lambda: asyncio.sleep(TEND)),
        ]
        self._tasks = [asyncio.create_task(self._repeat(act, rest)) for act, rest in rounds]
        if self._manager.storage.supports_wakeups:
            self._tasks.append(asyncio.create_task(self._repeat(self._listen, self._rest)))

    def stop(self) -> list[asyncio.Task[None]]:
        """Returns the tasks that are ending. One whose cancellation is lost in a store's client ends with
        its round."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        ending, self._tasks = self._tasks, []
        return ending

    async def _repeat(self, act: Callable[[], Awaitable[None]], rest: Callable[[], Awaitable[None]]) -> None:
        """Until it is stopped. Nothing that goes wrong in one round ends it."""
        failures = 0
        while not self._stopped:
            try:
                await act()
            except StorageUnavailable as error:
                self._lost(error)
                failures += 1
            except Exception:
                logger.exception("The feed of store %r stumbled and goes on.", self._store)
                failures += 1
            else:
                failures = 0
            if failures:
                await asyncio.sleep(PATIENCE[min(failures, len(PATIENCE)) - 1])
            else:
                await rest()

    @staticmethod
    async def _rest() -> None:
        await asyncio.sleep(BEAT)

    def _lost(self, error: StorageUnavailable) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning("Store %r cannot be reached: %s Trying again.", self._store, error)
            self._tell_all(frames.store_away("The store cannot be reached, retrying."))

    def _reached(self) -> None:
        if self._away_since is not None:
            logger.warning(
                "Store %r can be reached again after %.1f s.",
                self._store,
                time.monotonic() - self._away_since,
            )
            self._away_since = None
            self._tell_all(frames.store_back())

    def _tell_all(self, text: str) -> None:
        self._feed.hub.tell_all(self._store, text)

    # Sessions

    async def _rest_until_woken(self, alarm: Alarm, beat: float) -> None:
        if not self._manager.storage.supports_wakeups:
            await asyncio.sleep(beat)
            return
        # What happened just before the store began to wake us up is found by asking.
        is_new = time.monotonic() - self._listening_since < SLOW_BEAT
        await alarm.rest(beat if is_new else SLOW_BEAT, busy=self._busy[alarm])

    async def _listen(self) -> None:
        self._listening_since = time.monotonic()
        async with aclosing(self._manager.storage.wakeups()) as hints:
            async for session_id in hints:
                if self._stopped:
                    return
                self._list.ring(session_id)
                self._feed.hint(self._store, session_id)
                if not session_id or self._feed.hub.watched((self._store, session_id)):
                    self._sessions.ring(session_id)

    async def _look(self) -> None:
        topics = self._feed.hub.topics(self._store)
        if not topics:
            return
        named = self._sessions.named()
        moved = await self._moved(topics) if named is None else named
        found = [(topic, w) for topic in topics if topic[1] in moved and (w := self._feed.watched.get(topic))]
        due = [(topic, watched) for topic, watched in found if watched.is_due]
        self._busy[self._sessions] = any([await self._advance(topic, watched) for topic, watched in due])

    async def _moved(self, topics: Sequence[Topic]) -> set[str]:
        """Sessions that are not where they were seen last."""
        last = await self._manager.storage.last_seqs([session_id for _store, session_id in topics])
        self._reached()
        watched = self._feed.watched
        return {topic[1] for topic in topics if topic in watched and last.get(topic[1]) != watched[topic].seq}

    async def _advance(self, topic: Topic, watched: Watched) -> bool:
        """Was there something new?"""
        before = watched.seq
        try:
            await watched.advance(partial(self._feed.hub.publish, topic))
            self._reached()
        except StorageUnavailable:
            raise
        except SessionNotFound:
            watched.rest()
            self._feed.hub.tell(topic, frames.gone())
        except Exception as error:
            # One session that cannot be read must not keep the others from being seen.
            logger.exception("Session %s cannot be shown beyond event %d.", topic[1], watched.seq)
            watched.rest()
            self._feed.hub.tell(topic, frames.trouble(_told(error, watched)))
        return watched.seq != before

    # The list

    async def _look_at_list(self) -> None:
        listing = self._feed.listing
        if listing is None:
            return
        text = await listing.changed(self._store, self._list.named())
        self._reached()
        self._busy[self._list] = text is not None
        if text:
            self._feed.hub.tell(LIST, text)
        if text := await listing.tallied(self._store):
            self._feed.hub.tell(LIST, text)

    # What is in no event

    async def _tend(self) -> None:
        await self._manager.interrupt_expired()
        now = time.monotonic()
        if now - self._leases_looked_at >= LEASE_BEAT:
            self._leases_looked_at = now
            await self._look_at_leases()
        if now - self._pulsed >= PULSE:
            self._pulsed = now
            self._pulse()

    async def _look_at_leases(self) -> None:
        for topic in self._feed.hub.topics(self._store):
            watched = self._feed.watched.get(topic)
            if watched and watched.outline and watched.outline.document["status"] in HELD:
                with suppress(SessionNotFound):
                    await watched.refresh_head(partial(self._feed.hub.publish, topic))

    def _pulse(self) -> None:
        for topic in self._feed.hub.topics(self._store):
            watched = self._feed.watched.get(topic)
            if watched:
                self._feed.hub.tell(topic, frames.pulse(watched.seq, watched.status))
        self._feed.hub.tell(LIST, frames.pulse(0))


def _told(error: Exception, watched: Watched) -> str:
    if isinstance(error, StateError):
        return str(error)
    return f"It cannot be shown beyond event {watched.seq}. The server's log says why."


feed = Feed()
"""The one of this process."""
