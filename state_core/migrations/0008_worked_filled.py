"""Who has worked in the sessions that are there already; and sessions are found by it."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.db import migrations, transaction
from django.db.models import Max, Min, Q

from state_core.fields import Names, NamesIndex
from state_core.heads import agent_name, joined

AT_ONCE = 1000
"""Sessions that are filled in one transaction: who runs meanwhile waits for no longer than that."""
BEGINS_A_STEP = Q(kind="step.started") | Q(kind="step.completed", data__contains='"began":')


def fill(apps: Any, schema_editor: Any) -> None:
    """From the headers of events. A session's row is written only where somebody has worked."""
    alias = schema_editor.connection.alias
    sessions, events = (
        apps.get_model("state_core", name).objects.using(alias) for name in ("Session", "Event")
    )
    last = sessions.aggregate(last=Max("pk"))["last"] or 0
    for first in range(1, last + 1, AT_ONCE):
        worked = _worked(events.filter(session_id__gte=first, session_id__lt=first + AT_ONCE))
        with transaction.atomic(using=alias):
            for names, ids in _together(worked):
                sessions.filter(pk__in=ids).update(worked=names)


def _worked(events: Any) -> dict[int, list[str]]:
    """Session → the agents that began a step in it, the first first."""
    began = events.filter(BEGINS_A_STEP).exclude(agent="").values_list("session_id", "agent")
    found: dict[int, list[str]] = defaultdict(list)
    for session, agent, _ in began.annotate(first=Min("seq")).order_by("session_id", "first"):
        found[session].append(agent_name(agent))
    return found


def _together(worked: dict[int, list[str]]) -> Iterator[tuple[list[str], list[int]]]:
    """Sessions of the same agents are many, as a rule."""
    ids: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for session, names in worked.items():
        ids[tuple(joined((), names))].append(session)
    for same, of in ids.items():
        yield list(same), of


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("state_core", "0007_worked"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
        migrations.AddIndex("session", NamesIndex(Names("worked"), name="marsys_state_worked")),
    ]
