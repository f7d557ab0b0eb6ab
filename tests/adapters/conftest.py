"""Tracers whose spans are recorded in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from state_core import MemoryStorageBackend
from tests.adapters.traced import Traced

collect_ignore = ["marsys_021"]
"""Its checks run in a Python of their own, see `test_marsys.py`."""


@pytest.fixture
def traced() -> Iterator[Traced]:
    found = Traced(MemoryStorageBackend())
    yield found
    found.provider.shutdown()


@pytest.fixture
def make_traced() -> Iterator[Any]:
    made: list[Traced] = []

    def make(*args: Any, **options: Any) -> Traced:
        made.append(Traced(*args, **options))
        return made[-1]

    yield make
    for found in made:
        found.provider.shutdown()
