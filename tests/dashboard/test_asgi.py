"""The process that serves: what it does before somebody asks."""

from __future__ import annotations

import gc

from marsys_dashboard import asgi


def test_what_stays_as_long_as_the_process_is_not_looked_through_for_garbage() -> None:
    assert asgi.application
    assert gc.get_freeze_count() > 50_000
