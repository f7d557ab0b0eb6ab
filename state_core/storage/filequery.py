"""A HeadQuery as the file store's index asks it: statements of SQLite, each with its values."""

# ruff: noqa: S608 - the text is made of our own columns' names; values are parameters

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from state_core.heads import short
from state_core.names import needle
from state_core.records import HELD
from state_core.storage import parts
from state_core.storage.base import HeadQuery
from state_core.storage.parts import Kind, Part

Statement = tuple[str, list[Any]]

AT_REST = "status NOT IN ({})".format(", ".join(f"'{status}'" for status in sorted(HELD)))
"""Written as in the indexes of what is at rest, or SQLite would not use them."""


def pages(query: HeadQuery, now: float) -> list[Statement]:
    """The page; or the first of each part of it, to be merged."""
    if parts.has_parts(query):
        return [_part(query, now, part) for part in parts.parts_of(query)]
    return [_page(query, now, query.sort_field, query.descending, _keyset(query))]


def _part(query: HeadQuery, now: float, part: Part) -> Statement:
    asked, field = parts.asked_by_status(query, part), _field(part, query)
    return _page(asked, now, field, part.descending, _in_part(part, query))


def _page(query: HeadQuery, now: float, field: str, descending: bool, beyond: Statement) -> Statement:
    where, values = _conditions(query, now)
    after, more = beyond
    text = (
        f"SELECT head FROM head WHERE {where} AND {after} "
        f"ORDER BY {field} {'DESC' if descending else 'ASC'}, session_id LIMIT ?"
    )
    return text, [*values, *more, query.limit]


def status_counts(query: HeadQuery, now: float) -> Statement:
    where, values = _conditions(query, now, statuses=False)
    # The index of statuses counts all of them; where more is asked, it is the long way to each row.
    status = "status" if where == "1" else "+status"
    return f"SELECT status, count(*) FROM head WHERE {where} GROUP BY {status}", values


_HAS_TAG = "EXISTS (SELECT 1 FROM json_each(head, '$.tags') WHERE value = ?)"


_FORKED_FROM = (
    "json_extract(head, '$.origin') <> '' AND json_extract(head, '$.origin') >= ? "
    "AND json_extract(head, '$.origin') < ?"
)
"""What begins with an id and "@": "A" is the character behind it. Written as in its index, or SQLite would
not use that."""


_LASTED = (
    "started_at IS NOT NULL AND coalesce(julianday(json_extract(head, '$.ended_at')), ? + 2440587.5) "
    "- julianday(started_at)"
)
"""In days, until now where it has not ended. 2440587.5 is the beginning of 1970."""


def _conditions(query: HeadQuery, now: float, *, statuses: bool = True) -> Statement:
    found: list[Statement] = [("1", [])]
    if query.statuses and statuses:
        marks = ", ".join("?" * len(query.statuses))
        found.append((f"status IN ({marks})", [str(status) for status in query.statuses]))
    if query.text:
        found.append(("instr(search, ?)", [short(query.text.lower())]))
    if query.tag:
        found.append((_HAS_TAG, [query.tag]))
    if query.agent:
        found.append(("instr(worked, ?)", [needle(query.worked)]))
    if query.since:
        found.append(("updated_at >= ?", [moment_text(query.since)]))
    if query.until:
        found.append(("updated_at < ?", [moment_text(query.until)]))
    if query.questions:
        found.append(("questions > 0", []))
    if query.origin:
        origin = short(query.origin, 128)
        found.append((_FORKED_FROM, [f"{origin}@", f"{origin}A"]))
    if query.lease_expired:
        held = ", ".join(f"'{status}'" for status in sorted(HELD))
        instant = datetime.fromtimestamp(now, UTC)
        found.append((f"lease_expires_at <= ? AND status IN ({held})", [moment_text(instant)]))
    found += _further(query, now)
    return " AND ".join(part for part, _ in found), [value for _, values in found for value in values]


def _further(query: HeadQuery, now: float) -> list[Statement]:
    sought = (("owner", query.owner), ("error", query.error))
    found: list[Statement] = [
        (f"instr(json_extract(head, '$.{name}'), ?)", [short(text)]) for name, text in sought if text
    ]
    for sign, seconds in ((">=", query.min_duration), ("<=", query.max_duration)):
        if seconds is not None:
            found.append((f"{_LASTED} {sign} ?", [now / 86400, seconds / 86400]))
    return found


def _keyset(query: HeadQuery) -> Statement:
    """SQLite sorts NULL below every value, as the contract does."""
    if query.after is None:
        return "1", []
    name, (value, session_id) = query.sort_field, query.after
    value = moment_text(value) if isinstance(value, datetime) else value if value is None else _plain(value)
    tie = f"({name} IS ? AND session_id > ?)"
    if value is None:
        return (tie if query.descending else f"({tie} OR {name} IS NOT NULL)"), [None, session_id]
    beyond = f"({name} < ? OR {name} IS NULL)" if query.descending else f"{name} > ?"
    return f"({tie} OR {beyond})", [value, session_id, value]


_PARTS = {
    Kind.ENDED: ("took IS NOT NULL", "took"),
    Kind.LASTING: ("took IS NULL AND started_at IS NOT NULL", "started_at"),
    Kind.UNSTARTED: ("started_at IS NULL", "session_id"),
    Kind.AT_REST: (AT_REST, ""),
    Kind.AT_WORK: ("1", ""),
}
"""What each part of a page consists of, and what it is ordered by, where it is not the query's own field."""


def _field(part: Part, query: HeadQuery) -> str:
    return _PARTS[part.kind][1] or query.sort_field


def _in_part(part: Part, query: HeadQuery) -> Statement:
    where, values = _PARTS[part.kind][0], list[Any]()
    compared = parts.compared_statuses(query, part)
    if compared:
        # "+": not by the index of statuses, which would have to be sorted.
        where += f" AND +status IN ({', '.join('?' * len(compared))})"
        values += compared
    if part.after is None:
        return where, values
    value, session_id = part.after
    if part.kind == Kind.UNSTARTED:
        return f"{where} AND session_id > ?", [*values, session_id]
    name, sign = _field(part, query), "<" if part.descending else ">"
    shown = moment_text(value) if isinstance(value, datetime) else value
    beyond = f"{name} {sign}= ? AND ({name} {sign} ? OR session_id > ?)"
    return f"{where} AND {beyond}", [*values, shown, shown, session_id]


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)


def moment_text(value: datetime | None) -> str | None:
    """Sorts as time does: always UTC, always microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None
