"""Facts: small records that are never changed, and made so often that it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fact(*, kw_only: bool = False, slots: bool = True) -> Callable[[type[T]], type[T]]:
    """A dataclass that the type checker lets nobody change.

    One that is frozen at run time takes four times as long to make, and an append makes several.
    """
    return dataclass(kw_only=kw_only, slots=slots)
