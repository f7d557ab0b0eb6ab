"""What may be recorded of values that foreign programs hand over: no secrets, nothing without bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import date
from enum import Enum
from typing import Any

REDACTED = "[redacted]"
LONGEST_TEXT = 100_000
"""Characters of one text that are kept."""
MOST_ITEMS = 2_000
"""Of one list or dict."""
DEEPEST = 24

Redact = Callable[[Any], Any]
"""Takes plain JSON values and returns what may be recorded of them."""

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[^a-z])(?:api[_-]?key|secret|passw(?:or)?d|passphrase|authorization|credentials?|private[_-]?key"
    r"|(?:access|auth|bearer|refresh|session|id)[_-]?token|token|cookie|set-cookie)s?$"
)
_SECRET_TEXT = re.compile(
    r"""(?x)
    \bsk-[A-Za-z0-9_-]{16,}                          # OpenAI, Anthropic and those like them
    | \b(?:ghp|gho|ghs|ghu|github_pat)_\w{20,}
    | \bxox[abpors]-[A-Za-z0-9-]{10,}
    | \bAKIA[0-9A-Z]{16}\b
    | \bAIza[0-9A-Za-z_-]{35}
    | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}           # JSON web tokens
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | (?<=[Bb]earer[ ])[\w.~+/=-]{12,}
    | (?<=://)[^\s:/@]+:[^\s/@]+(?=@)                # user:password@host
    """,
    re.DOTALL,
)


def redacted(value: Any) -> Any:
    """Without what looks like a secret, by the name that it has or by its shape."""
    if isinstance(value, dict):
        return {name: REDACTED if _is_secret(name, part) else redacted(part) for name, part in value.items()}
    if isinstance(value, list):
        return [redacted(part) for part in value]
    return _SECRET_TEXT.sub(REDACTED, value) if isinstance(value, str) else value


def _is_secret(name: str, value: Any) -> bool:
    """A number is none: ``max_tokens`` and the like are counts."""
    return isinstance(value, str | list | dict) and bool(value) and _SECRET_NAME.search(name) is not None


def bounded(value: Any, depth: int = 0) -> Any:
    """A copy of any value as plain JSON values of a bounded size; what JSON has no word for is described."""
    if value is None or isinstance(value, bool | int | float):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, str):
        return cut(value)
    if depth > DEEPEST:
        return f"<{type(value).__name__}, too deep>"
    if isinstance(value, Mapping):
        pairs = list(value.items())
        parts = {cut(str(name), 500): bounded(part, depth + 1) for name, part in pairs[:MOST_ITEMS]}
        return parts if len(pairs) <= MOST_ITEMS else {**parts, "…": f"{len(pairs) - MOST_ITEMS} more"}
    if isinstance(value, list | tuple | set | frozenset):
        items = [bounded(part, depth + 1) for part in list(value)[:MOST_ITEMS]]
        return items if len(value) <= MOST_ITEMS else [*items, f"… {len(value) - MOST_ITEMS} more"]
    return _object(value, depth)


def _object(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return bounded(value.value, depth + 1)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if is_dataclass(value) and not isinstance(value, type):
        return bounded({name: getattr(value, name) for name in value.__dataclass_fields__}, depth + 1)
    dump = getattr(value, "model_dump", None)
    return bounded(dump(), depth + 1) if callable(dump) else cut(repr(value), 2_000)


def cut(text: str, limit: int = LONGEST_TEXT) -> str:
    """Text that UTF-8 can hold, its middle left out where it is long."""
    sound = text.encode("utf-8", "replace").decode()
    if len(sound) <= limit:
        return sound
    half = limit // 2
    return f"{sound[:half]}\n… {len(sound) - 2 * half} characters left out …\n{sound[-half:]}"
