"""The counts that sessions are sorted by are indexed while they rest, whichever way they came there."""

from __future__ import annotations

import pytest

from state_core.events import EventKind
from state_core.records import HELD
from state_core.storage import database
from state_core.storage.base import AppendRequest
from state_core.storage.rows import RESTING
from state_core.testing import record

COUNTS = {"steps": 3, "state_bytes": 5}
HISTORY = [
    (EventKind.SESSION_CREATED, {}),
    (EventKind.CONTEXT_CHANGED, {}),
    (EventKind.SESSION_STARTED, {}),
    (EventKind.STEP_STARTED, {}),
    (EventKind.SESSION_SAVED, {"counts": COUNTS}),
    (EventKind.SESSION_PAUSED, {}),
    (EventKind.CONTEXT_CHANGED, {}),
    (EventKind.SESSION_SAVED, {"counts": {**COUNTS, "steps": 7}}),
    (EventKind.SESSION_RESUMED, {}),
    (EventKind.INPUT_REQUESTED, {"question": "q", "session": "waiting"}),
    (EventKind.INPUT_ANSWERED, {"question": "q", "session": "running"}),
    (EventKind.SESSION_COMPLETED, {}),
    (EventKind.SESSION_RESTORED, {"to": 2, "counts": COUNTS}),
    (EventKind.SESSION_CANCELLED, {}),
]


async def one(storage, session_id, events):
    await storage.append(session_id, events)


async def batch(storage, session_id, events):
    outcomes = []
    request = AppendRequest(session_id=session_id, events=events)
    await storage.append_many([request], lambda index, outcome: outcomes.append(outcome))
    assert isinstance(outcomes[0], int)


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request):
    return request.getfixturevalue(f"{request.param}_store")


@pytest.mark.parametrize("append", [one, batch])
@pytest.mark.parametrize("by_orm", [False, True], ids=["dialect", "orm"])
@pytest.mark.parametrize("together", [1, 3], ids=["each alone", "by threes"])
async def test_a_count_is_indexed_while_no_orchestrator_holds_the_session(
    storage, monkeypatch, together, by_orm, append
):
    if by_orm:
        monkeypatch.setattr(database, "_dialect", lambda connection: None)
    events = [record(kind, n, branch_id="b", size=1, data=data) for n, (kind, data) in enumerate(HISTORY)]

    def row(connection, tables):
        return tables.session.objects.using(connection.alias).values().get()

    for first in range(0, len(events), together):
        await append(storage, "s", events[first : first + together])
        found = await storage._run(row)
        expected = {
            column: None if found["status"] in HELD else found[count] for count, column in RESTING.items()
        }
        assert {column: found[column] for column in RESTING.values()} == expected, first
