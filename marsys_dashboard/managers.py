"""One StateManager for each store that STATE_STORES names, made once in this process."""

from __future__ import annotations

from state_core import managers
from state_core.exceptions import NotFound
from state_core.manager import StateManager
from state_core.storage import stores

_made: dict[str, StateManager] = {}


class StoreNotFound(NotFound):
    def __init__(self, alias: str) -> None:
        names = ", ".join(store_names()) or "none"
        super().__init__(f"There is no store {alias!r}. STATE_STORES names: {names}.")
        self.alias = alias


def store_names() -> list[str]:
    return list(stores.aliases())


def manager(store: str) -> StateManager:
    """Raises StoreNotFound."""
    if store not in store_names():
        raise StoreNotFound(store)
    if store not in _made:
        _made[store] = managers.manager(store, actor="dashboard")
    return _made[store]


def forget() -> None:
    """Make them anew on next use, for tests that change STATE_STORES."""
    _made.clear()


async def close() -> None:
    """Give back connections and threads, for a process that ends."""
    for made in list(_made.values()):
        await made.close()
