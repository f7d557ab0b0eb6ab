"""Spans of time as addresses and people write them: ``90s``, ``15m``, ``24h``, ``7d``, or a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from state_core.exceptions import InvalidValue
from state_core.records import utc_now

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 100 * 365 * 86400.0


def read_span(text: str) -> float:
    """Seconds. Raises InvalidValue."""
    found = _SPAN.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else LONGEST + 1
    if seconds > LONGEST:
        raise InvalidValue(f"{text[:40]!r} is no span of time. Write 90s, 15m, 24h or 7d.")
    return seconds


def read_moment(text: str) -> datetime:
    """``24h`` is so long ago; a date or a time as ISO 8601 writes it, UTC where it names no zone. Raises
    InvalidValue."""
    if _SPAN.fullmatch(text.strip().lower()):
        return utc_now() - timedelta(seconds=read_span(text))
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(
            f"{text[:40]!r} is no time. Write how long ago (24h, 7d), or 2026-11-25T14:30."
        ) from error
