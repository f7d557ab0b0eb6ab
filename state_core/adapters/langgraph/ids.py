"""The framework's ids as ours."""

from __future__ import annotations

import hashlib
import re

from state_core.exceptions import InvalidId
from state_core.records import check_id

ROOT = "graph"
"""The branch of the root namespace."""


def session_id_of(thread_id: str) -> str:
    """The thread's id itself where it can be a session's; else one that is made of it."""
    return _as_id(str(thread_id))


def branch_id_of(ns: str) -> str:
    return _as_id(ns.replace("|", "..")) if ns else ROOT


def _as_id(text: str) -> str:
    try:
        return check_id(text)
    except InvalidId:
        readable = re.sub(r"[^A-Za-z0-9_.:-]+", "-", text)[:90].strip("-.")
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return f"{readable}.{digest}".lstrip(".")
