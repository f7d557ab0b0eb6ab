"""Recording: a live session's content, kept in step with its log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import orjson

from state_core.changes import apply_changes, differences
from state_core.codec import plain, plain_json
from state_core.compose import make_event, messages_added
from state_core.config import StateManagerConfig
from state_core.events import Change, Changes, Event, EventKind
from state_core.exceptions import DamagedError, InvalidValue
from state_core.log import EventLog
from state_core.records import Document, Message, SessionState, SessionStatus, check_id
from state_core.writer import Writer

logger = logging.getLogger(__name__)

LIVE_CONTENT = {"context": "context", "metadata": "metadata", "intermediate_results": "results"}
"""Part of the document → attribute of the session that a program may change directly."""


class Recording:
    """The lowest layer of a live session: state, content, appends."""

    def __init__(self, log: EventLog, session_id: str, owner: str, config: StateManagerConfig) -> None:
        self.session_id = check_id(session_id)
        self.owner = owner
        self.context: dict[str, Any] = {}
        """Change it freely; it is saved with each step and at the auto-save interval."""
        self.metadata: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self._log = log
        self._config = config
        self._writer = Writer(log, session_id, owner, config, self._on_foreign)
        self._saving = asyncio.Lock()
        self._saved: tuple[object, ...] = ()
        """What the live content was, and the document's, when they were last found to be the same."""

    def __repr__(self) -> str:
        return f"<Session {self.session_id} {self.document['status']}>"

    # Looking

    @property
    def document(self) -> Document:
        """The state as it is held here, as plain JSON values; to be read, not changed."""
        return self._writer.document

    @property
    def status(self) -> SessionStatus:
        return SessionStatus(self.document["status"])

    @property
    def seq(self) -> int:
        return self._writer.seq

    @property
    def state(self) -> SessionState:
        """A copy of the state."""
        return SessionState.from_document(deepcopy(self.document))

    # Appending

    def event(self, kind: str, changes: Changes | None = None, *, actor: str = "", **header: Any) -> Event:
        """An event by this owner, measured against the present state."""
        return make_event(kind, changes, document=self.document, actor=actor or self.owner, **header)

    async def catch_up(self) -> None:
        """Fold what others have appended until now, rather than at the next look."""
        await self._writer.catch_up()

    async def append(self, *events: Event) -> int:
        """Append durably under the lease; returns the seq of the last. Raises LeaseLost."""
        await self._until_recordable()
        return await self._writer.append(*events)

    async def _until_recordable(self) -> None:
        """A pause holds back what is recorded; see `Pausing`."""

    # Content

    async def set_context(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Durably set values of the context."""
        self.context.update(plain({**(values or {}), **more}, "context"))
        await self.save()

    async def set_metadata(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Durably set values of the metadata."""
        self.metadata.update(plain({**(values or {}), **more}, "metadata"))
        await self.save()

    async def set_result(self, name: str, value: Any) -> None:
        """Durably set an intermediate result."""
        self.results[name] = plain(value, f"result {name!r}")
        await self.save()

    async def remember(self, agent: str, *messages: Message) -> None:
        """Durably append to an agent's own memory, which it keeps across branches."""
        path = ["agent_memories", agent]
        await self.append(messages_added(path, messages, self.document, actor=self.owner, agent=agent))

    async def save(self) -> None:
        """Durably save what was changed in ``context``, ``metadata`` and ``results``."""
        await self._append_after_unsaved()

    async def _append_after_unsaved(self, *events: Event) -> None:
        """Append in one commit with what is unsaved. One at a time while something is, so that two that
        end at the same moment do not both save the same change."""
        await self._until_recordable()
        if events and not self._saving.locked() and not self._unsaved():
            await self._writer.append(*events)
            return
        async with self._saving:
            # Who records a pause comes to this lock later, and gives the lease back after it.
            unsaved = self._unsaved()
            if unsaved:
                await self._writer.append(*unsaved, *events)
        if events and not unsaved:
            await self.append(*events)

    async def _append_in_the_end(self, *events: Event) -> None:
        """With what is unsaved, unless that cannot be stored: an end is recorded all the same."""
        async with self._saving:
            await self._writer.append(*self._unsaved_if_storable(), *events)

    def _unsaved(self) -> list[Event]:
        live = {part: plain_json(getattr(self, name), part) for part, name in LIVE_CONTENT.items()}
        compared = (self._writer.content_seq, *live.values())
        if compared == self._saved:
            return []  # As nearly always.
        changes = {part: self._changed(part, now) for part, now in live.items()}
        pairs = (
            (EventKind.CONTEXT_CHANGED, changes["context"] + changes["metadata"]),
            (EventKind.RESULT_CHANGED, changes["intermediate_results"]),
        )
        events = [self.event(kind, found) for kind, found in pairs if found]
        self._saved = () if events else compared
        return events

    def _changed(self, part: str, live: bytes) -> Changes:
        if live == orjson.dumps(self.document[part]):
            return []  # Told without taking the two apart.
        return list(differences(self.document[part], orjson.loads(live), [part]))

    async def _append_of_step(self, *events: Event) -> None:
        if self._config.auto_save_enabled and self._config.auto_save_on_step:
            await self._append_after_unsaved(*events)
        else:
            await self.append(*events)

    def _unsaved_if_storable(self) -> list[Event]:
        try:
            return self._unsaved()
        except InvalidValue as error:
            logger.warning("Session %s: its last changes are not saved: %s", self.session_id, error)
            return []

    # What others append

    def _on_foreign(self, event: Event) -> None:
        if event.kind == EventKind.SESSION_RESTORED:
            self._refresh_content()
        for change in event.changes:
            self._merge(change)

    def _merge(self, change: Change) -> None:
        """A change from elsewhere reaches the program's own working copy, too."""
        operation, path, *rest = change
        attribute = LIVE_CONTENT.get(path[0]) if path else None
        if attribute is None:
            return
        try:
            apply_changes(getattr(self, attribute), deepcopy([[operation, path[1:], *rest]]))
        except DamagedError:
            logger.warning("Session %s: the program changed %r meanwhile; its value stays.", self, path)

    def _refresh_content(self) -> None:
        for part, attribute in LIVE_CONTENT.items():
            setattr(self, attribute, deepcopy(self.document[part]))
