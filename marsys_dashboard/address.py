"""Text out of an address: what anybody may have typed."""

from __future__ import annotations

from django.http import QueryDict

LONGEST = 200
"""Characters; what is longer is cut off."""


def text_of(get: QueryDict, name: str) -> str:
    """Bounded, and without NUL, which PostgreSQL refuses."""
    return get.get(name, "").strip()[:LONGEST].replace("\x00", "")
