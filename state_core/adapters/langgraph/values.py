"""Values of channels, item by item.

A list or a dict is kept as its items; an item that a thread has seen before is named by its number. What a
put adds is therefore what changed, wherever in the list it did, and a message that came by as a task's
write, in a subgraph or in an older checkpoint costs a number the second time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Typed = tuple[str, bytes]
"""A serialised object: the name of its type for the serializer, and its bytes."""

MSGPACK = "msgpack"
ALIKE = 12
"""Items back that a new one is compared with."""
PATCH_SAVES = 32
"""Bytes from which that pays."""
HEAD = 6
"""Bytes."""
RESOLVED = 48
"""Values of a thread whose items are kept at hand, so that the next is not followed back to the first."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A value that is kept in one piece."""

    item: Typed


@dataclass(frozen=True, slots=True)
class Listed:
    items: list[Typed]


@dataclass(frozen=True, slots=True)
class Mapped:
    items: dict[str, Typed]


Encoded = Whole | Listed | Mapped


def encode(value: Any, dumps: Callable[[Any], Typed]) -> Encoded:
    """Subclasses of list and dict keep their class, so they stay in one piece."""
    if type(value) is list:
        return Listed([dumps(item) for item in value])
    if type(value) is dict and all(type(key) is str for key in value):
        return Mapped({key: dumps(item) for key, item in value.items()})
    return Whole(dumps(value))


class Items:
    """The distinct items of a thread, numbered in the order in which its log brings them. A number is never
    given twice, so that it means the same to everybody who has read the log."""

    def __init__(self) -> None:
        self._items: list[Typed | None] = []
        self._numbers: dict[Typed, int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Typed:
        """Raises KeyError for one that was forgotten."""
        item = self._items[number]
        if item is None:
            raise KeyError(number)
        return item

    def number(self, item: Typed) -> int | None:
        return self._numbers.get(item)

    def add(self, item: Typed) -> None:
        self._numbers[item] = len(self._items)
        self._items.append(item)
        self.bytes += len(item[1])

    def pairs(self, start: int = 0) -> Iterator[tuple[int, Typed]]:
        """Those that are kept, with their numbers."""
        return ((number, item) for number, item in enumerate(self._items[start:], start) if item is not None)

    def skip(self, count: int) -> None:
        """So many numbers have no item any more."""
        self._items.extend([None] * count)

    def forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            item = self[number]
            self._items[number] = None
            del self._numbers[item]
            self.bytes -= len(item[1])


class Numbering:
    """Numbers for what a record names: known ones, and new ones behind them."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._new: dict[Typed, int] = {}

    def __call__(self, item: Typed) -> int:
        known = self._items.number(item)
        if known is not None:
            return known
        return self._new.setdefault(item, len(self._items) + len(self._new))

    @property
    def new(self) -> list[Typed]:
        return list(self._new)


def shown_items(items: Items, new: Sequence[Typed]) -> list[Any]:
    """As JSON. Latin-1 leaves readable text readable, so that it compresses. One that is much like an item
    from just before, such as a message that got an id, is told by that one."""
    at_hand = list(items.pairs(max(0, len(items) - ALIKE)))
    shown: list[Any] = []
    for number, item in enumerate(new, start=len(items)):
        shown.append(_patch(item, at_hand) or plainly(item))
        at_hand = [*at_hand, (number, item)][-ALIKE:]
    return shown


def plainly(item: Typed) -> Any:
    kind, data = item
    return data.decode("latin-1") if kind == MSGPACK else [kind, data.decode("latin-1")]


def _patch(item: Typed, at_hand: Sequence[tuple[int, Typed]]) -> list[Any] | None:
    """``[number, bytes alike behind its head, bytes alike at its end, its head and what is between]``. The
    head, where msgpack says how long it is, is seldom alike. See `_borrowed`."""
    kind, data = item
    best = PATCH_SAVES
    patch: list[Any] | None = None
    for number, (other_kind, other) in at_hand:
        if other_kind == kind == MSGPACK:
            before = _alike(data[HEAD:], other[HEAD:], len(data))
            most = min(len(data), len(other)) - HEAD - before
            behind = _alike(data[::-1], other[::-1], most)
            if before + behind > best:
                best = before + behind
                patch = [number, before, behind]
    if patch is None:
        return None
    between = data[:HEAD] + data[HEAD + patch[1] : len(data) - patch[2]]
    return [*patch, *_borrowed(between, at_hand)]


def _borrowed(text: bytes, at_hand: Sequence[tuple[int, Typed]]) -> list[Any]:
    """As text. Where another item ends with much of it, as the role and the text that a message was made of:
    ``[text in front, number of that item, how many of its last bytes, text behind]``."""
    for number, (kind, other) in reversed(at_hand):
        ending = other[-PATCH_SAVES:]
        place = text.find(ending) if kind == MSGPACK and len(ending) == PATCH_SAVES else -1
        if place >= 0:
            more = _alike(text[:place][::-1], other[:-PATCH_SAVES][::-1], place)
            front, behind = text[: place - more], text[place + PATCH_SAVES :]
            return [front.decode("latin-1"), number, more + PATCH_SAVES, behind.decode("latin-1")]
    return [text.decode("latin-1")]


def _alike(one: bytes, other: bytes, most: int) -> int:
    """How many bytes at the beginning of both are the same, up to ``most``."""
    low, high = 0, min(len(one), len(other), most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def read_items(items: Items, shown: Iterable[Any]) -> None:
    """Add what `shown_items` made."""
    for item in shown:
        if isinstance(item, str):
            items.add((MSGPACK, item.encode("latin-1")))
        elif isinstance(item[0], str):
            items.add((item[0], item[1].encode("latin-1")))
        else:
            number, before, behind, *between = item
            items.add((MSGPACK, _patched(items[number][1], before, behind, _lent(items, *between))))


def _lent(items: Items, front: str, number: int = 0, length: int = 0, behind: str = "") -> bytes:
    lent = items[number][1][-length:] if length else b""
    return front.encode("latin-1") + lent + behind.encode("latin-1")


def _patched(other: bytes, before: int, behind: int, between: bytes) -> bytes:
    beginning = between[:HEAD] + other[HEAD : HEAD + before]
    return beginning + between[HEAD:] + other[len(other) - behind :]


# What a thread holds of a value: how it follows from the one before…

Numbers = list[int] | dict[str, int] | int | None
"""The items of a value: of a list, of a dict, of one piece; None for a channel that is empty."""


@dataclass(eq=False, slots=True)
class Value:
    """``change``: as `difference` makes it, against ``base``."""

    change: list[Any]
    base: Value | None = None


def difference(old: Numbers, new: Encoded | None, number: Numbering) -> list[Any]:
    """``["e"]`` empty · ``["w", number]`` whole · ``["l", parts]`` a list, of numbers and of ``[start,
    length]`` of the old one · ``["d", set, removed]`` a dict · ``["D", items]`` a dict anew."""
    if new is None:
        return ["e"]
    if isinstance(new, Whole):
        return ["w", number(new.item)]
    if isinstance(new, Listed):
        return ["l", _list_parts(old if isinstance(old, list) else [], [number(item) for item in new.items])]
    return _dict_change(old, {key: number(item) for key, item in new.items.items()})


def difference_of(numbers: Numbers) -> list[Any]:
    """From nothing to these."""
    if numbers is None:
        return ["e"]
    if isinstance(numbers, int):
        return ["w", numbers]
    return ["l", numbers] if isinstance(numbers, list) else ["D", numbers]


def _list_parts(old: list[int], new: list[int]) -> list[Any]:
    same = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    parts: list[Any] = [[0, same]] if same else []
    places = (
        {number: place for place, number in enumerate(old)} if same < len(new) and same < len(old) else {}
    )
    while same < len(new):
        start = places.get(new[same])
        length = _run(old, start, new, same) if start is not None else 0
        parts.append([start, length] if length > 1 else new[same])
        same += max(1, length)
    return parts


def _run(old: list[int], start: int, new: list[int], place: int) -> int:
    length = 0
    while (
        start + length < len(old) and place + length < len(new) and old[start + length] == new[place + length]
    ):
        length += 1
    return length


def _dict_change(old: Numbers, new: dict[str, int]) -> list[Any]:
    if not isinstance(old, dict):
        return ["D", new]
    removed = [key for key in old if key not in new]
    changed = {key: number for key, number in new.items() if old.get(key) != number}
    kept = [key for key in old if key in new]
    in_order = kept + [key for key in changed if key not in old] == list(new)
    return ["d", changed, removed] if in_order else ["D", new]


class Resolver:
    """Follows values back to what they follow from."""

    def __init__(self) -> None:
        self._at_hand: OrderedDict[int, tuple[Value, Numbers]] = OrderedDict()

    def __call__(self, value: Value | None) -> Numbers:
        """Not to be changed by the caller."""
        if value is None:
            return None
        behind: list[Value] = []
        at: Value | None = value
        while at is not None and id(at) not in self._at_hand:
            behind.append(at)
            at = at.base
        numbers = _copy(self._at_hand[id(at)][1]) if at is not None and behind else None
        for step in reversed(behind):
            numbers = _applied(numbers, step.change)
        if not behind:
            self._at_hand.move_to_end(id(value))
            return self._at_hand[id(value)][1]
        self._at_hand[id(value)] = (value, numbers)
        if len(self._at_hand) > RESOLVED:
            self._at_hand.popitem(last=False)
        return numbers


def _copy(numbers: Numbers) -> Numbers:
    return numbers.copy() if isinstance(numbers, list | dict) else numbers


def _applied(old: Numbers, change: list[Any]) -> Numbers:
    """The next value. ``old`` is used up: a list that only grew grows in place."""
    kind, *rest = change
    if kind == "l":
        return _applied_parts(old if isinstance(old, list) else [], rest[0])
    if kind == "d":
        return _applied_keys(dict(old) if isinstance(old, dict) else {}, *rest)
    if kind == "D":
        return dict(rest[0])
    return rest[0] if kind == "w" else None


def _applied_parts(old: list[int], parts: list[Any]) -> list[int]:
    if parts and parts[0] == [0, len(old)] and all(isinstance(part, int) for part in parts[1:]):
        old.extend(parts[1:])
        return old
    new: list[int] = []
    for part in parts:
        if isinstance(part, int):
            new.append(part)
        else:
            new.extend(old[part[0] : part[0] + part[1]])
    return new


def _applied_keys(old: dict[str, int], changed: Mapping[str, int], removed: Iterable[str]) -> dict[str, int]:
    for key in removed:
        del old[key]
    old.update(changed)
    return old
