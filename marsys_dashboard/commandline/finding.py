"""The session that is meant: by ``store:id``, or by its id alone where one store has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from marsys_dashboard.commandline.who import at_terminal
from marsys_dashboard.managers import manager, store_names
from state_core.control import is_held
from state_core.exceptions import InvalidId, InvalidValue, NotFound, SessionNotFound, StorageError
from state_core.manager import StateManager
from state_core.records import HELD, Head, check_id
from state_core.storage.base import HeadQuery

NEWEST = 500
"""Sessions of each store, those that changed last, among which the nearest are looked for."""
NAMED = 3


@dataclass(frozen=True)
class Session:
    store: str
    head: Head

    @property
    def id(self) -> str:
        return self.head.session_id

    @property
    def name(self) -> str:
        return name_of(self.store, self.id)

    @property
    def manager(self) -> StateManager:
        return manager(self.store)


def name_of(store: str, session_id: str) -> str:
    return f"{store}:{session_id}"


async def find_session(text: str) -> Session:
    """Raises NotFound, which names the nearest; InvalidValue where several are meant."""
    found: list[Session] = []
    away: list[StorageError] = []
    for store, session_id in _meant(text):
        try:
            found.append(Session(store, await head_of(store, session_id)))
        except (SessionNotFound, InvalidId):
            continue
        except StorageError as error:
            away.append(error)
    if not found and away:
        raise away[0]
    if len(found) > 1:
        names = ", ".join(session.name for session in found)
        raise InvalidValue(f"Several sessions are called {text!r}. Name one of {names}.")
    if not found:
        raise await _not_found(text)
    return found[0]


def _meant(text: str) -> list[tuple[str, str]]:
    """An id may have a colon itself."""
    store, _, session_id = text.partition(":")
    names = store_names()
    return [*((name, text) for name in names), *([(store, session_id)] if store in names else [])]


async def head_of(store: str, session_id: str) -> Head:
    """As it is: where who ran it fell silent and nobody has recorded that yet, it is recorded now."""
    chosen = manager(store)
    head = await chosen.get_head(session_id)
    if fell_silent(head) and await chosen.interrupt(session_id, actor=at_terminal()):
        return await chosen.get_head(session_id)
    return head


def fell_silent(head: Head) -> bool:
    return head.status in HELD and bool(head.owner) and not is_held(head)


async def _not_found(text: str) -> NotFound:
    check_id(text)
    near = nearest(text, await _known())
    remedy = f"Did you mean {near}?" if near else "`session list` shows which there are."
    return NotFound(f"There is no session {text!r}. {remedy}")


async def _known() -> dict[str, str]:
    """Id, and id with its store → how it is named."""
    known: dict[str, str] = {}
    for store in store_names():
        for head in await manager(store).storage.heads(HeadQuery(sort="-updated_at", limit=NEWEST)):
            name = name_of(store, head.session_id)
            known |= {head.session_id: name, name: name}
    return known


def nearest(text: str, known: Mapping[str, str]) -> str:
    """How the nearest few of what is known are named, or ""."""
    close = get_close_matches(text, known, n=NAMED)
    return " or ".join(dict.fromkeys(known[each] for each in close))
