"""A file of JSON lines in which nothing can be changed, taken out or put in without being noticed.

Each line carries the SHA-256 of itself and of the one before it; the last one says how many there are, and
signs the end of that chain with the dashboard's SECRET_KEY.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from django.core.signing import BadSignature, Signer

from state_core.heads import short

LINK = "chain"
"""Key of a line's link."""
SEAL = "seal"
"""Key of the last line."""


class BrokenSeal(ValueError):
    """The file is not as it was when it was sealed, or was sealed with another SECRET_KEY."""


def line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"


async def sealed(entries: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[str]:
    """The lines of these entries, and the one that seals them."""
    link, count = "", 0
    async for entry in entries:
        link, count = _next(link, entry), count + 1
        yield line({**entry, LINK: link})
    yield line({SEAL: _signer().sign(f"{count}:{link}")})


def check(lines: Iterable[str]) -> int:
    """How many entries the file holds, all as they were. Raises BrokenSeal, naming the first that is not."""
    link, count, is_sealed = "", 0, False
    for number, text in enumerate(lines, start=1):
        if is_sealed:
            raise BrokenSeal(f"Line {number} stands behind the seal.")
        entry = _read(text, number)
        if SEAL in entry:
            _check_seal(str(entry[SEAL]), link, count)
            is_sealed = True
            continue
        claimed = entry.pop(LINK, "")
        link, count = _next(link, entry), count + 1
        if claimed != link:
            raise BrokenSeal(f"Line {number} is not as it was sealed, or one before it is missing.")
    if not is_sealed:
        raise BrokenSeal(f"The file ends after {count:,} entries without its seal: the rest was cut off.")
    return count


def _next(link: str, entry: Mapping[str, Any]) -> str:
    return hashlib.sha256((link + line(entry)).encode()).hexdigest()


def _read(text: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except ValueError as error:
        raise BrokenSeal(f"Line {number} is no JSON: {short(text)}") from error
    if not isinstance(entry, dict):
        raise BrokenSeal(f"Line {number} is no entry: {short(text)}")
    return entry


def _check_seal(seal: str, link: str, count: int) -> None:
    try:
        signed = _signer().unsign(seal)
    except BadSignature as error:
        raise BrokenSeal(
            "The seal is not of this dashboard. Check the file with the SECRET_KEY of the one that wrote it."
        ) from error
    if signed != f"{count}:{link}":
        raise BrokenSeal(
            f"The seal is of other entries: it is for {signed.split(':')[0]}, and here are {count}."
        )


def _signer() -> Signer:
    return Signer(salt="marsys_dashboard.sealed")
