"""The framework's serializer: reading makes objects of classes that are known, and of no other."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from state_core.adapters.langgraph.values import Typed
from state_core.exceptions import InvalidValue

_refused = threading.local()


def strict(allow: Collection[type | tuple[str, str]]) -> JsonPlusSerializer:
    serializer = JsonPlusSerializer(allowed_msgpack_modules=None)
    return serializer.with_msgpack_allowlist(allow) if allow else serializer


class Serializer:
    """Makes objects of items. ``sharing``: of equal items one object."""

    def __init__(self, serde: SerializerProtocol, *, sharing: bool = False) -> None:
        self._loads = serde.loads_typed
        self._made: dict[Typed, Any] | None = {} if sharing else None

    def load(self, item: Typed) -> Any:
        if self._made is None:
            return self._loads(item)
        if item not in self._made:
            self._made[item] = self._loads(item)
        return self._made[item]

    def load_anew(self, item: Typed) -> Any:
        return self._loads(item)

    def check(self, items: Iterable[Typed]) -> None:
        """Can these be read again as what they are? Raises InvalidValue."""
        with _told_what_is_refused() as refused:
            for item in items:
                self._loads(item)
        if refused:
            module, name = refused[0]
            raise InvalidValue(
                f"The state holds a {module}.{name}, which reading would not make an object of. Pass "
                f"`allow=[{name}]` to StateCoreSaver, or keep plain data in the state."
            )


@contextmanager
def _told_what_is_refused() -> Iterator[list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []
    _refused.found = found
    try:
        yield found
    finally:
        _refused.found = None


def _note(event: SerdeEvent) -> None:
    found = getattr(_refused, "found", None)
    if found is not None and event["kind"].endswith("blocked"):
        found.append((event["module"], event["name"]))


register_serde_event_listener(_note)
