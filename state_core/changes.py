"""Plain state changes: applying them to a document, measuring them, and finding them between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from state_core.events import Change, Changes
from state_core.exceptions import DamagedError
from state_core.records import Document

Path = list[Any]

KEEP = "keep"
"""The operation of a change that is none: an adapter keeps something of its own in an event's body."""

KEEPS_RECORDS = "keeps_records"
"""In a document: are there such changes on the way to it?"""


def set_value(path: Path, value: Any) -> Change:
    return ["set", path, value]


def remove_value(path: Path) -> Change:
    """What it takes away must be there when it is applied."""
    return ["remove", path]


def append_items(path: Path, items: list[Any]) -> Change:
    return ["append", path, items]


def keep_aside(value: Any) -> Change:
    return [KEEP, [], value]


def apply_changes(document: Document, changes: Changes) -> None:
    """Apply in order, in place. Raises DamagedError when a path leads nowhere."""
    for operation, path, *rest in changes:
        try:
            _OPERATIONS[operation](document, path, *rest)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            session_id = str(document.get("session_id", "?"))
            raise DamagedError(session_id, f"a change at {path!r}", "it leads nowhere") from error


def _parent(document: Document, path: Path) -> Any:
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    return place


def _set(document: Document, path: Path, value: Any) -> None:
    if not path:
        document.update(value)
        return
    _parent(document, path)[path[-1]] = value


def _remove(document: Document, path: Path) -> None:
    del _parent(document, path)[path[-1]]


def _append(document: Document, path: Path, items: list[Any]) -> None:
    place = _parent(document, path)
    if isinstance(place, dict) and path[-1] not in place:
        place[path[-1]] = []
    place[path[-1]].extend(items)


def _truncate(document: Document, path: Path, length: int) -> None:
    del _parent(document, path)[path[-1]][length:]


def _keep(document: Document, path: Path, value: Any) -> None:
    """It is no part of the state; a fork takes it along."""
    document[KEEPS_RECORDS] = True


_OPERATIONS: dict[str, Callable[..., None]] = {
    KEEP: _keep,
    "set": _set,
    "remove": _remove,
    "append": _append,
    "truncate": _truncate,
}


def json_size(value: Any) -> int:
    return len(orjson.dumps(value))


def growth(document: Document, changes: Changes) -> int:
    """By how many bytes of JSON ``changes`` make the document's content grow (or shrink, below 0)."""
    return sum(_GROWTH[operation](document, path, *rest) for operation, path, *rest in changes)


def _present(document: Document, path: Path) -> Any:
    place: Any = document
    for key in path:
        try:
            place = place[key]
        except (KeyError, IndexError, TypeError):
            return None
    return place


def in_parts(changes: Changes, most: int = 1000, most_bytes: int = 1_000_000) -> Iterator[Changes]:
    """For events of bounded size, at least a change each."""
    part: Changes = []
    size = 0
    for change in changes:
        length = json_size(change)
        if part and (len(part) == most or size + length > most_bytes):
            yield part
            part, size = [], 0
        part.append(change)
        size += length
    if part:
        yield part


def _size_at(document: Document, path: Path) -> int:
    present = _present(document, path)
    return 0 if present is None else _entry_size(path, present)


def _entry_size(path: Path, value: Any) -> int:
    return json_size(value) + len(str(path[-1])) + 4 if path else json_size(value)


def _set_growth(document: Document, path: Path, value: Any) -> int:
    return _entry_size(path, value) - _size_at(document, path)


def _remove_growth(document: Document, path: Path) -> int:
    return -_size_at(document, path)


def _append_growth(document: Document, path: Path, items: list[Any]) -> int:
    return sum(json_size(item) + 1 for item in items)


def _truncate_growth(document: Document, path: Path, length: int) -> int:
    present = _present(document, path)
    return -sum(json_size(item) + 1 for item in (present or [])[length:])


def _no_growth(document: Document, path: Path, value: Any) -> int:
    return 0


_GROWTH: dict[str, Callable[..., int]] = {
    KEEP: _no_growth,
    "set": _set_growth,
    "remove": _remove_growth,
    "append": _append_growth,
    "truncate": _truncate_growth,
}


def differences(old: Any, new: Any, path: Sequence[Any] = ()) -> Iterator[Change]:
    """The changes that turn ``old`` into ``new``. Lists that only grew cost only what was added."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _dict_differences(old, new, list(path))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_differences(old, new, list(path))
    elif old != new or type(old) is not type(new):
        yield set_value(list(path), new)


def _dict_differences(old: Document, new: Document, path: Path) -> Iterator[Change]:
    for key in old:
        if key not in new:
            yield ["remove", [*path, key]]
    for key, value in new.items():
        if key not in old:
            yield set_value([*path, key], value)
        else:
            yield from differences(old[key], value, [*path, key])


def _list_differences(old: list[Any], new: list[Any], path: Path) -> Iterator[Change]:
    same = _common_length(old, new)
    if same < len(old):
        yield ["truncate", path, same]
    if same < len(new):
        yield append_items(path, new[same:])


def _common_length(old: list[Any], new: list[Any]) -> int:
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b or type(a) is not type(b):
            return index
    return min(len(old), len(new))
