"""How fast the demonstration goes: the session's context says it, and a person can change it on resume."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

SECONDS = 1.0
"""For a step, where the session's context has no ``pace``."""


async def take_time(context: Mapping[str, Any], share: float = 1.0) -> None:
    """Wait, so that people can watch. Resuming with ``{"pace": 0}`` makes the rest run at full speed."""
    pace = context.get("pace", SECONDS)
    await asyncio.sleep(share * pace if isinstance(pace, int | float) and pace > 0 else 0)
