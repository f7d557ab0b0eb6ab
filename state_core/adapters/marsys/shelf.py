"""What MARSYS saves under keys, as sessions of ours.

``session_<id>`` is the session of that id, its value the session's ``context["marsys"]``: only what
differs is appended. A checkpoint's key is a checkpoint in that session's log. Any other key is an entry of
one session that holds them all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random

from state_core.adapters.marsys.projection import projected
from state_core.adapters.recorder import Target, manager_on
from state_core.changes import differences
from state_core.codec import plain
from state_core.compose import checkpoint_event, make_event
from state_core.control import is_held
from state_core.events import Event, EventKind
from state_core.exceptions import ConflictError, InvalidId, SessionExists, SessionNotFound
from state_core.fold import state_counts
from state_core.heads import short
from state_core.records import Checkpoint, CheckpointKind, Document, check_id
from state_core.storage.base import HeadQuery

TAG = "marsys"
STATE = "marsys"
"""Where in a session's context the value stands."""
OTHERS = "marsys-keys"
"""The session of all other keys."""
SESSION, CHECKPOINT = "session_", "checkpoint_"
PAGE = 500

_OURS = re.compile(r"cp-\d{8}T\d{6}(\d{6})?-[0-9a-f]{6,8}$")


PATIENCE = 30.0
"""Seconds for which a write is repeated that others' writes to the same session come before."""


def until_unopposed() -> AsyncRetrying:
    """A run's own events go into the session, too; the value is compared again after each."""
    return AsyncRetrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_delay(PATIENCE),
        wait=wait_random(0, 0.05),
        reraise=True,
    )


def session_id_of(marsys_id: str) -> str:
    """The same id where it can be one of ours, else one made of its digest; the session's title tells it."""
    try:
        return check_id(marsys_id)
    except InvalidId:
        digest = hashlib.blake2b(str(marsys_id).encode("utf-8", "replace"), digest_size=12).hexdigest()
        return f"{TAG}-{digest}"


def title_of(marsys_id: str, task: Any) -> str:
    """The task, save where the title has to tell the id."""
    return short(task or marsys_id, 120) if session_id_of(marsys_id) == marsys_id else marsys_id


class Shelf:
    """Keys and values on a store of ours. ``target``: a StateManager, a store, or its URL."""

    def __init__(self, target: Target) -> None:
        self.manager = manager_on(target)
        self.projects = True
        """False where the outline of sessions is recorded live."""

    # Keys and values

    async def save(self, key: str, data: Mapping[str, Any]) -> None:
        """Durably, all of it or nothing. Raises InvalidValue for what JSON has no word for."""
        value = plain(dict(data), key)
        if key.startswith(SESSION):
            await self.save_state(key.removeprefix(SESSION), value)
            return
        owner = value.get("session_id")
        if key.startswith(CHECKPOINT) and isinstance(owner, str) and await self.has_session(owner):
            await self._save_checkpoint(owner, key, value)
            return
        await self._write(
            OTHERS, {**(await self._state(OTHERS) or {}), key: value}, title="Other keys of MARSYS"
        )

    async def load(self, key: str) -> Document | None:
        """None where the key was never saved or is deleted. Raises DamagedError for what is damaged."""
        if key.startswith(SESSION):
            return await self._state(session_id_of(key.removeprefix(SESSION)))
        checkpoint = await self.checkpoint(key)
        if checkpoint:
            return await self.state_at(checkpoint)
        found: Document | None = (await self._state(OTHERS) or {}).get(key)
        return found

    async def delete(self, key: str) -> None:
        if key.startswith(SESSION):
            await self.delete_session(key.removeprefix(SESSION))
            return
        checkpoint = await self.checkpoint(key)
        if checkpoint:
            await self.drop_checkpoints(checkpoint.session_id, [checkpoint.id])
            return
        others = await self._state(OTHERS) or {}
        if others.pop(key, None) is not None:
            await self._write(OTHERS, others)

    async def exists(self, key: str) -> bool:
        if key.startswith(SESSION):
            return await self.load(key) is not None
        return await self.checkpoint(key) is not None or key in (await self._state(OTHERS) or {})

    async def keys(self, prefix: str = "") -> list[str]:
        """Sorted. Reads heads and names of checkpoints, no values."""
        found = [key for key in await self._state(OTHERS) or {} if key.startswith(prefix)]
        async for session_id, marsys_id in self.sessions():
            if f"{SESSION}{marsys_id}".startswith(prefix):
                found.append(f"{SESSION}{marsys_id}")
            if _may_begin(f"{CHECKPOINT}{marsys_id}_", prefix):
                names = [
                    key_of(place, marsys_id) for place in await self.manager.list_checkpoints(session_id)
                ]
                found.extend(name for name in names if name.startswith(prefix))
        return sorted(found)

    # Sessions

    async def sessions(self) -> AsyncIterator[tuple[str, str]]:
        """Our id and MARSYS's of each session that has a state here."""
        query = HeadQuery(tag=TAG, sort="session_id", limit=PAGE)
        while True:
            heads = await self.manager.storage.heads(query)
            for head in heads:
                if head.session_id != OTHERS:
                    derived = session_id_of(head.title) == head.session_id
                    yield head.session_id, head.title if derived else head.session_id
            if len(heads) < PAGE:
                return
            query = HeadQuery(
                tag=TAG, sort="session_id", limit=PAGE, after=(heads[-1].session_id, heads[-1].session_id)
            )

    async def has_session(self, marsys_id: str) -> bool:
        session_id = session_id_of(marsys_id)
        return session_id in await self.manager.storage.last_seqs([session_id])

    async def save_state(self, marsys_id: str, value: Document) -> None:
        await self._write(session_id_of(marsys_id), value, title=title_of(marsys_id, value.get("task")))

    async def load_state(self, marsys_id: str) -> Document | None:
        return await self._state(session_id_of(marsys_id))

    async def delete_session(self, marsys_id: str) -> None:
        """Its checkpoints go with it. Raises LeaseHeld."""
        try:
            await self.manager.delete_session(session_id_of(marsys_id))
        except SessionNotFound:
            return

    async def _state(self, session_id: str) -> Document | None:
        try:
            document = await self.manager.log.document(session_id)
        except SessionNotFound:
            return None
        found: Document | None = document["context"].get(STATE)
        return found

    async def _write(self, session_id: str, value: Document, title: str = "") -> None:
        async for attempt in until_unopposed():
            with attempt:
                document = await self.created(session_id, title)
                events = self._difference(document, value)
                if await self._is_projected(session_id):
                    events += projected(document, value, self.manager.actor)
                if events:
                    await self.append(document, events)

    async def _is_projected(self, session_id: str) -> bool:
        if not self.projects or session_id == OTHERS:
            return False
        return not is_held(await self.manager.storage.head(session_id))

    async def created(self, session_id: str, title: str) -> Document:
        with suppress(SessionNotFound):
            return await self.manager.log.document(session_id)
        with suppress(SessionExists):  # Somebody was faster.
            await self.manager.create_session(session_id, title=title, workflow="MARSYS", tags=[TAG])
        return await self.manager.log.document(session_id)

    def _difference(self, document: Document, value: Document) -> list[Event]:
        changes = list(differences(document["context"].get(STATE), value, ["context", STATE]))
        if not changes:
            return []
        return [make_event(EventKind.CONTEXT_CHANGED, changes, document=document, actor=self.manager.actor)]

    async def append(self, document: Document, events: list[Event]) -> None:
        await self.manager.log.append(document["session_id"], events, expected_seq=document["seq"])

    # Checkpoints

    async def checkpoint(self, key: str) -> Checkpoint | None:
        """The checkpoint of this key, the newest where there are several of this name."""
        if not key.startswith(CHECKPOINT):
            return None
        ours = _OURS.search(key)
        found = [
            place
            for session_id in await self._owners(key)
            for place in await self.manager.list_checkpoints(session_id)
            if place.name == key or (ours and place.id == ours[0])
        ]
        return found[-1] if found else None

    async def _owners(self, key: str) -> list[str]:
        """Sessions whose checkpoint this may be: ``checkpoint_a_b_7`` is of ``a``, or of ``a_b``."""
        parts = key.removeprefix(CHECKPOINT).split("_")
        possible = [session_id_of("_".join(parts[:count])) for count in range(1, len(parts))]
        return list(await self.manager.storage.last_seqs(possible))

    async def state_at(self, checkpoint: Checkpoint) -> Document:
        """As it is when loaded, with what MARSYS notes of a checkpoint in its metadata."""
        document = await self.manager.log.document(checkpoint.session_id, checkpoint.seq)
        state: Document = document["context"].get(STATE, {})
        noted = {
            "checkpoint_name": checkpoint.name,
            "checkpoint_time": checkpoint.created_at.isoformat(),
            "auto": checkpoint.kind == CheckpointKind.AUTO,
        }
        state["metadata"] = {**noted, **state.get("metadata", {})}
        return state

    async def create_checkpoint(self, marsys_id: str, name: str, *, auto: bool = False) -> str:
        """Raises SessionNotFound. Two of the same name in the same moment are two."""
        kind = CheckpointKind.AUTO if auto else CheckpointKind.MANUAL
        session_id = session_id_of(marsys_id)
        checkpoint_id = await self.manager.create_checkpoint(session_id, name, kind=kind)
        return f"{CHECKPOINT}{marsys_id}_{name}_{checkpoint_id}"

    async def _save_checkpoint(self, marsys_id: str, key: str, value: Document) -> None:
        """A value that differs from the session's: the log goes there, gets a name, and comes back."""
        session_id = session_id_of(marsys_id)
        async for attempt in until_unopposed():
            with attempt:
                document = await self.manager.log.document(session_id)
                present = deepcopy(document["context"].get(STATE, {}))
                there = self._difference(document, value)
                place = checkpoint_event(key, state_counts(document), actor=self.manager.actor)
                document["context"][STATE] = value
                back = self._difference(document, present)
                await self.append(document, [*await self._replaced(session_id, key), *there, place, *back])

    async def _replaced(self, session_id: str, key: str) -> list[Event]:
        old = [p.id for p in await self.manager.list_checkpoints(session_id) if p.name == key]
        return [self._dropped(old)] if old else []

    async def drop_checkpoints(self, session_id: str, ids: list[str]) -> None:
        """The names go; the log stays."""
        await self.manager.log.append(session_id, [self._dropped(ids)])

    def _dropped(self, ids: list[str]) -> Event:
        return make_event(EventKind.CHECKPOINT_DELETED, actor=self.manager.actor, data={"ids": ids})


def key_of(checkpoint: Checkpoint, marsys_id: str) -> str:
    if checkpoint.name.startswith(f"{CHECKPOINT}{marsys_id}_"):
        return checkpoint.name
    return f"{CHECKPOINT}{marsys_id}_{checkpoint.name}_{checkpoint.id}"


def _may_begin(stem: str, prefix: str) -> bool:
    return stem.startswith(prefix) or prefix.startswith(stem)
