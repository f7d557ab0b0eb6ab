"""An append to the database: what is written, and the form that works on every database.

`postgres` and `sqlite` have shorter forms for the usual append; this one is what they fall back to.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import BooleanField, ExpressionWrapper, F

from state_core.events import EventRecord
from state_core.exceptions import InvalidValue, SessionExists, SessionNotFound
from state_core.facts import fact
from state_core.heads import CheckpointChange, joined
from state_core.records import SessionStatus
from state_core.storage.base import Append, refusal
from state_core.storage.clock import LASTS
from state_core.storage.places import placed
from state_core.storage.rows import (
    CHECKPOINT_COLUMNS,
    EVENT_COLUMNS,
    RESTING,
    checked,
    minute_of,
    resting,
    search_text,
)

BATCH = 500


@fact(slots=False)
class RowAppend(Append):
    """An append as rows."""

    @cached_property
    def set(self) -> dict[str, Any]:
        values = dict(checked(self.change.set))
        if "updated_at" in values:
            values["updated_minute"] = minute_of(values["updated_at"])
        if "status" in values:
            values.update(resting(values, values["status"]))
        return values

    @cached_property
    def added(self) -> dict[str, tuple[str, int]]:
        """Column → a column as it was, and what is added to that."""
        add = checked(self.change.add)
        moves = {name: (name, difference) for name, difference in add.items()}
        for count, column in RESTING.items():
            if "status" in self.set:
                if column not in self.set:
                    moves[column] = count, add.get(count, 0)
            elif count in add:
                moves[column] = column, add[count]  # what is NULL stays so
        return moves

    @property
    def is_usual(self) -> bool:
        """It changes one head by what it says itself, and adds rows; nothing else."""
        others = self.checkpoints.renamed or self.checkpoints.pinned or self.checkpoints.removed
        return not others and not self.renames and not self.replaces_counts_alone

    @property
    def replaces_counts_alone(self) -> bool:
        """Whether it is at rest has to be read."""
        return "status" not in self.set and not self.set.keys().isdisjoint(RESTING)

    @property
    def renames(self) -> bool:
        return not self.guard.creates and not self.set.keys().isdisjoint({"title", "workflow"})

    def new_row(self) -> dict[str, Any]:
        """The head of a session that this append creates. Counts of its own stand over differences."""
        title, workflow = self.set.get("title", ""), self.set.get("workflow", "")
        values = {**dict.fromkeys(RESTING, 0), **checked(self.change.add), **self.set}
        return {
            "session_id": self.session_id,
            "last_seq": self.change.first_seq - 1 + len(self.events),
            **values,
            **resting(values, values.get("status", SessionStatus.PENDING)),
            "worked": self.change.first_worked,
            "search": search_text(self.session_id, title, workflow),
        }


def append_by_orm(tables: Any, alias: str, write: RowAppend) -> int:
    """Runs anywhere. Raises what `StorageBackend.append` says."""
    with transaction.atomic(using=alias):
        pk, last_seq = _create(tables, alias, write) if write.guard.creates else _change(tables, alias, write)
        first = last_seq - len(write.events) + 1
        rows = [_event(tables, pk, first + index, event) for index, event in enumerate(write.events)]
        tables.event.objects.using(alias).bulk_create(rows, batch_size=BATCH)
        _change_checkpoints(tables, alias, write.checkpoints, pk, first)
    return last_seq


def _create(tables: Any, alias: str, write: RowAppend) -> tuple[int, int]:
    try:
        with transaction.atomic(using=alias):
            row = tables.session.objects.using(alias).create(**write.new_row())
    except IntegrityError as error:
        raise SessionExists(write.session_id) from error
    return row.pk, row.last_seq


def _change(tables: Any, alias: str, write: RowAppend) -> tuple[int, int]:
    heads = tables.session.objects.using(alias).filter(session_id=write.session_id)
    row = refuse(heads.select_for_update(), write)
    values = dict(write.set)
    values.update({column: F(before) + more for column, (before, more) in write.added.items()})
    if write.replaces_counts_alone:
        values.update(resting(values, row["status"]))
    if write.renames:
        title, workflow = values.get("title", row["title"]), values.get("workflow", row["workflow"])
        values["search"] = search_text(write.session_id, title, workflow)
    worked = joined(row["worked"], write.change.worked)
    if worked != row["worked"]:
        values["worked"] = worked
    heads.update(last_seq=F("last_seq") + len(write.events), **values)
    return row["pk"], row["last_seq"] + len(write.events)


_COMPARED = ("pk", "last_seq", "status", "fence", "title", "workflow", "worked")


def refuse(heads: Any, write: RowAppend) -> dict[str, Any]:
    """The head as it stands, or the error that the guard is against it."""
    lasts = ExpressionWrapper(LASTS, output_field=BooleanField())
    row: dict[str, Any] | None = heads.annotate(lasts=lasts).values(*_COMPARED, "lasts").first()
    if row is None:
        raise SessionNotFound(write.session_id)
    error = refusal(
        write.session_id,
        write.guard,
        last_seq=row["last_seq"],
        status=row["status"],
        fence=row["fence"],
        lease_lasts=bool(row["lasts"]),
    )
    if error:
        raise error
    return row


def _event(tables: Any, pk: int, seq: int, event: EventRecord) -> Any:
    values = {name: getattr(event, name) for name in EVENT_COLUMNS}
    return tables.event(session_id=pk, **{**values, "seq": seq, "body": placed(seq, event.body)})


def _change_checkpoints(tables: Any, alias: str, change: CheckpointChange, pk: int, first: int) -> None:
    if not change:
        return
    places = tables.checkpoint.objects.using(alias)
    try:
        with transaction.atomic(using=alias):
            places.bulk_create(checkpoint_rows(tables, change, pk, first))
    except IntegrityError as error:
        raise taken(change) from error
    of_session = places.filter(session=pk)
    for checkpoint_id, name in change.renamed.items():
        of_session.filter(pk=checkpoint_id).update(name=name)
    for checkpoint_id, pinned in change.pinned.items():
        of_session.filter(pk=checkpoint_id).update(pinned=pinned)
    of_session.filter(pk__in=change.removed).delete()


def checkpoint_rows(tables: Any, change: CheckpointChange, pk: int, first: int) -> list[Any]:
    names = [name for name in CHECKPOINT_COLUMNS if "__" not in name]
    placed = [replace(checkpoint, seq=first + index) for index, checkpoint in change.added]
    return [tables.checkpoint(session_id=pk, **{n: getattr(c, n) for n in names}) for c in placed]


def taken(change: CheckpointChange) -> InvalidValue:
    ids = ", ".join(checkpoint.id for _, checkpoint in change.added)
    return InvalidValue(f"A checkpoint with this id is in the store already: {ids}. Nothing was written.")
