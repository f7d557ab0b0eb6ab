"""The database store's tables. Only the store, the admin and commands use them.

Each table comes as an abstract base, so that a store may keep a set of its own under another name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.apps.registry import Apps
from django.db import models

from state_core.fields import JsonField, KeyField, Microseconds, Names, NamesField, NamesIndex
from state_core.records import CheckpointKind, SessionStatus

TABLE_NAME = "marsys_state"


def _choices(kinds: Any) -> list[tuple[str, str]]:
    return [(str(kind), str(kind).replace("_", " ")) for kind in kinds]


class AbstractSession(models.Model):
    """A head: what is told of a session without its history."""

    session_id = KeyField(max_length=128)
    status = KeyField(max_length=16, default="pending", choices=_choices(SessionStatus))
    first_seq = models.BigIntegerField(default=1, db_default=1)
    last_seq = models.BigIntegerField(default=0)
    last_kind = models.TextField(default="")
    title = models.TextField(default="")
    workflow = models.TextField(default="")
    tags = NamesField(default=list)
    agents = NamesField(default=list)
    worked = NamesField(default=list, db_default="[]")
    refuses = NamesField(default=list)
    reason = models.TextField(default="")
    error = models.TextField(default="")
    origin = KeyField(max_length=160, default="")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    updated_minute = models.DateTimeField()
    """`updated_at` without its seconds: what is indexed, so that an append changes no index as a rule."""
    branches = models.BigIntegerField(default=0)
    branches_ended = models.BigIntegerField(default=0)
    steps = models.BigIntegerField(default=0)
    steps_completed = models.BigIntegerField(default=0)
    steps_failed = models.BigIntegerField(default=0)
    messages = models.BigIntegerField(default=0)
    questions = models.BigIntegerField(default=0)
    checkpoints = models.BigIntegerField(default=0)
    restores = models.BigIntegerField(default=0)
    state_bytes = models.BigIntegerField(default=0)
    stored_bytes = models.BigIntegerField(default=0)
    owner = models.TextField(default="")
    fence = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    search = models.TextField(default="")
    """Id, title and workflow in lower case: what a search looks in."""
    resting_steps = models.BigIntegerField(null=True)
    """`steps`, or None while an orchestrator holds the session: what is indexed, so that its appends change
    no index. See `storage.rows.RESTING`."""
    resting_state_bytes = models.BigIntegerField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.session_id)


class AbstractEvent(models.Model):
    """An event: its header in the clear, its body as bytes. The body comes last, so that reading a
    header need not walk over it."""

    id = models.BigAutoField(primary_key=True)
    seq = models.BigIntegerField()
    kind = models.TextField()
    at = models.DateTimeField()
    actor = models.TextField(default="")
    branch_id = models.TextField(default="")
    step_id = models.TextField(default="")
    agent = models.TextField(default="")
    status = models.TextField(default="")
    duration = models.FloatField(null=True)
    size = models.BigIntegerField(default=0)
    data = JsonField(default=dict)
    encoding = models.TextField(default="")
    body = models.BinaryField(default=b"")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"


class AbstractCheckpoint(models.Model):
    """A named place in a log."""

    id = KeyField(max_length=128, primary_key=True)
    seq = models.BigIntegerField()
    name = models.TextField()
    kind = models.TextField(default="manual", choices=_choices(CheckpointKind))
    created_at = models.DateTimeField()
    size_bytes = models.BigIntegerField(default=0)
    actor = models.TextField(default="")
    reason = models.TextField(default="")
    pinned = models.BooleanField(default=False)
    counts = JsonField(default=dict)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class AbstractSnapshot(models.Model):
    """A folded state, kept to shorten reading."""

    id = models.BigAutoField(primary_key=True)
    seq = models.BigIntegerField()
    encoding = models.TextField()
    body = models.BinaryField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"at {self.seq}"


def _name(table_name: str, suffix: str) -> str:
    """Of an index: unique in the database and at most 30 characters."""
    short = (
        table_name
        if len(table_name) <= 16
        else hashlib.blake2b(table_name.encode(), digest_size=8).hexdigest()
    )
    return f"{short}_{suffix}"


def _session_meta(table_name: str) -> dict[str, Any]:
    def index(suffix: str, *fields: str, **options: Any) -> models.Index:
        return models.Index(fields=fields, name=_name(table_name, suffix), **options)

    # Of what still lasts there is none, so that no append has to keep it.
    took = models.Index(
        Microseconds("ended_at", "started_at").desc(),
        "session_id",
        "status",
        name=_name(table_name, "took"),
        condition=models.Q(ended_at__isnull=False),
    )

    # In both directions: very many may have the same count, and would be sorted by their ids for each page.
    def at_rest(suffix: str, order: str) -> models.Index:
        condition = models.Q(**{f"{order.removeprefix('-')}__isnull": False})
        return index(suffix, order, "session_id", "status", condition=condition)

    worked = NamesIndex(Names("worked"), name=_name(table_name, "worked"))

    return {
        "db_table": f"{table_name}_session",
        "default_permissions": ("view",),
        "permissions": [
            ("operate_session", "Can pause, resume, answer, checkpoint and cancel sessions"),
            ("restore_session", "Can restore sessions to a checkpoint"),
        ],
        "constraints": [models.UniqueConstraint(fields=["session_id"], name=_name(table_name, "session_uq"))],
        "indexes": [
            index("minute", "-updated_minute"),
            index("created", "-created_at", "session_id"),
            index("started", "-started_at", "session_id"),
            index("status", "status", "session_id"),
            index("counted", "status"),
            index("origin", "origin", condition=models.Q(origin__gt="")),
            index("questions", "session_id", condition=models.Q(questions__gt=0)),
            index("lease", "lease_expires_at", condition=models.Q(lease_expires_at__isnull=False)),
            took,
            worked,
            at_rest("steps", "-resting_steps"),
            at_rest("fewest", "resting_steps"),
            at_rest("bytes", "-resting_state_bytes"),
            at_rest("smallest", "resting_state_bytes"),
        ],
    }


def _log_meta(table_name: str, kind: str) -> dict[str, Any]:
    """Of a table with one row per session and seq."""
    unique = models.UniqueConstraint(fields=["session", "seq"], name=_name(table_name, f"{kind}_uq"))
    return {"db_table": f"{table_name}_{kind}", "default_permissions": ("view",), "constraints": [unique]}


def _checkpoint_meta(table_name: str) -> dict[str, Any]:
    place = models.Index(fields=["session", "seq"], name=_name(table_name, "place"))
    return {"db_table": f"{table_name}_checkpoint", "default_permissions": ("view",), "indexes": [place]}


def _meta(options: dict[str, Any], apps: Apps | None = None) -> type:
    own = {"apps": apps} if apps else {}
    return type("Meta", (), {"app_label": "state_core", **options, **own})


def _session_key(to: type[models.Model] | str) -> Any:
    """Without a constraint in the database: each write locks or changes the head's row already, and
    checking it again for every event costs time; and rows outlive their session for a moment, see
    `storage.deleting`. No further index: each table has one that starts so."""
    return models.ForeignKey(
        to, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )


class Session(AbstractSession):
    Meta = _meta(_session_meta(TABLE_NAME))  # type: ignore[assignment]


class Event(AbstractEvent):
    session = _session_key(Session)
    Meta = _meta(_log_meta(TABLE_NAME, "event"))  # type: ignore[assignment]


class Checkpoint(AbstractCheckpoint):
    session = _session_key(Session)
    Meta = _meta(_checkpoint_meta(TABLE_NAME))  # type: ignore[assignment]


class Snapshot(AbstractSnapshot):
    session = _session_key(Session)
    Meta = _meta(_log_meta(TABLE_NAME, "snapshot"))  # type: ignore[assignment]


@dataclass(frozen=True)
class Tables:
    """The models of one set of tables."""

    name: str
    session: type[Any]
    event: type[Any]
    checkpoint: type[Any]
    snapshot: type[Any]

    def __iter__(self) -> Any:
        return iter((self.session, self.event, self.checkpoint, self.snapshot))


@cache
def tables(table_name: str = TABLE_NAME) -> Tables:
    """The models for tables of this name. Those of another name than the default belong to no
    app's migrations; the store creates them itself."""
    if table_name == TABLE_NAME:
        return Tables(TABLE_NAME, Session, Event, Checkpoint, Snapshot)
    apps = Apps()
    session = _model("Session", AbstractSession, _session_meta(table_name), apps)

    def part(name: str, base: type[models.Model], meta: dict[str, Any]) -> type[Any]:
        return _model(name, base, meta, apps, session=_session_key(session))

    return Tables(
        table_name,
        session,
        part("Event", AbstractEvent, _log_meta(table_name, "event")),
        part("Checkpoint", AbstractCheckpoint, _checkpoint_meta(table_name)),
        part("Snapshot", AbstractSnapshot, _log_meta(table_name, "snapshot")),
    )


def _model(name: str, base: type[models.Model], meta: dict[str, Any], apps: Apps, **fields: Any) -> type[Any]:
    values = {"__module__": __name__, "Meta": _meta(meta, apps), **fields}
    return type(name, (base,), values)
