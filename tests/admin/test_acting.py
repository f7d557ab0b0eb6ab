"""Acts: a page that says what follows, the StateManager, a message for each row."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from marsys_dashboard.models import ActivityEntry
from state_core import Checkpoint, StateManager, admin
from state_core.models import Checkpoint as CheckpointRow
from state_core.models import Event, Session
from state_core.words import ACTIONS
from tests.admin.conftest import told

SESSIONS = "/admin/state_core/session/"
CHECKPOINTS = "/admin/state_core/checkpoint/"


def ask(client: Client, act: str, *names: str, **given: Any) -> Any:
    """Choose sessions and an act; with something given, confirm it too."""
    chosen = list(Session.objects.filter(session_id__in=names).values_list("pk", flat=True))
    return post(client, SESSIONS, act, chosen, given)


def ask_restore(client: Client, *checkpoint_ids: str, **given: Any) -> Any:
    return post(client, CHECKPOINTS, "restore", list(checkpoint_ids), given)


def post(client: Client, address: str, act: str, chosen: list[Any], given: dict[str, Any]) -> Any:
    confirmed = {"apply": "1", **given} if given else {}
    return client.post(address, {"action": act, "_selected_action": chosen, **confirmed}, follow=True)


def status(name: str) -> str:
    return str(Session.objects.get(session_id=name).status)


@pytest.fixture
def before(manager: StateManager, paused: str) -> Checkpoint:
    found: Checkpoint = manager.sync.list_checkpoints(paused)[0]
    return found


@pytest.mark.parametrize("act", ["pause", "resume", "checkpoint", "cancel"])
def test_the_page_says_what_is_and_what_follows_and_nothing_happens_yet(
    act: str, operator: Client, paused: str
) -> None:
    page = ask(operator, act, paused)
    body = page.content.decode()
    assert page.status_code == 200
    assert paused in body
    assert ACTIONS[act].title in body
    assert all(sentence in page.rendered_content for sentence in map(_escaped, ACTIONS[act].consequences))
    assert status(paused) == "paused"


def _escaped(text: str) -> str:
    return text.replace("'", "&#x27;")


def test_resuming_merges_the_context_and_records_who_and_why(
    operator: Client, manager: StateManager, paused: str
) -> None:
    page = ask(operator, "resume", paused, reason="reviewed", context='{"review_complete": true}')
    assert told(page) == ["Session paused_1: Paused → Resuming"]
    state = manager.sync.get_session_state(paused)
    assert state.context["review_complete"] is True
    event = Event.objects.get(kind="resume.requested")
    assert (event.actor, event.data["reason"]) == ("alice", "reviewed")


def test_where_changes_of_a_context_are_approved_the_admin_resumes_without_one(
    operator: Client, manager: StateManager, paused: str, settings: Any
) -> None:
    settings.REVIEW_EDITS = True
    assert 'name="context"' not in ask(operator, "resume", paused).rendered_content
    ask(operator, "resume", paused, reason="reviewed", context='{"n": 2}')
    state = manager.sync.get_session_state(paused)
    assert (state.status, state.context) == ("resuming", {})


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_context_that_is_no_json_object_is_refused_and_kept_on_the_page(
    text: str, operator: Client, paused: str
) -> None:
    page = ask(operator, "resume", paused, reason="", context=text)
    assert page.status_code == 400
    assert text in page.content.decode()
    assert page.context["form"].errors["context"]
    assert status(paused) == "paused"


def test_cancelling_needs_a_reason(operator: Client, paused: str) -> None:
    assert ask(operator, "cancel", paused, reason="").status_code == 400
    assert status(paused) == "paused"
    page = ask(operator, "cancel", paused, reason="not needed any more")
    assert told(page) == ["Session paused_1: Paused → Cancelled"]
    assert status(paused) == "cancelled"


def test_pausing_a_session_that_nobody_runs_pauses_it_at_once(
    operator: Client, manager: StateManager
) -> None:
    manager.sync.create_session("pending_1")
    page = ask(operator, "pause", "pending_1", reason="")
    assert told(page) == ["Session pending_1: Pending → Paused"]


def test_a_checkpoint_gets_its_name(operator: Client, manager: StateManager, paused: str) -> None:
    page = ask(operator, "checkpoint", paused, name="before lunch", reason="")
    assert told(page) == ["Session paused_1: checkpoint “before lunch” saved"]
    newest = manager.sync.list_checkpoints(paused)[-1]
    assert (newest.name, newest.actor) == ("before lunch", "alice")


def test_each_row_has_its_own_result(operator: Client, paused: str, completed: str) -> None:
    page = ask(operator, "resume", paused, completed, reason="", context="{}")
    assert sorted(told(page)) == [
        "Session completed_1: It is completed. Paused, interrupted and failed sessions can be resumed.",
        "Session paused_1: Paused → Resuming",
    ]
    assert status(completed) == "completed"


def test_deleting_needs_a_reason_and_the_number_and_is_noted_among_the_activity(
    restorer: Client, manager: StateManager, paused: str, completed: str
) -> None:
    page = ask(restorer, "delete", paused, completed)
    assert "Type 2 to confirm" in page.rendered_content
    assert ">Delete sessions</button>" in page.rendered_content
    for given in ({"reason": "", "confirm": "2"}, {"reason": "tidy", "confirm": "3"}):
        assert ask(restorer, "delete", paused, completed, **given).status_code == 400
    assert Session.objects.count() == 2
    page = ask(restorer, "delete", paused, completed, reason="tidy", confirm="2")
    assert sorted(told(page)) == ["Session completed_1: deleted", "Session paused_1: deleted"]
    assert not Session.objects.exists()
    noted = ActivityEntry.objects.filter(verb="delete").order_by("session_id")
    assert [(entry.session_id, entry.actor, entry.reason) for entry in noted] == [
        ("completed_1", "alice", "tidy"),
        ("paused_1", "alice", "tidy"),
    ]


def test_who_runs_a_session_keeps_it_from_being_deleted(restorer: Client, manager: StateManager) -> None:
    with manager.sync.session("running_1"):
        page = ask(restorer, "delete", "running_1", reason="tidy", confirm="1")
        assert told(page) == [
            "Session running_1: It is running. An orchestrator holds it; pause or cancel it first."
        ]
    assert status("running_1") == "completed"


def test_more_rows_than_a_browser_waits_for_are_refused(
    operator: Client, manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MOST_ROWS", 1)
    for name in ("a", "b"):
        manager.sync.create_session(name)
    page = ask(operator, "pause", "a", "b", reason="")
    assert "2 rows are too many at once; choose 1 at most" in told(page)[0]
    assert status("a") == status("b") == "pending"


def test_a_row_that_went_meanwhile_is_told_and_the_others_are_done(
    operator: Client, manager: StateManager, paused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.sync.create_session("gone_1")
    original = StateManager.pause_execution

    async def lose_one(self: StateManager, session_id: str, *args: Any, **kwargs: Any) -> Any:
        if session_id == "gone_1":
            await self.delete_session(session_id)
        return await original(self, session_id, *args, **kwargs)

    manager.sync.create_session("pending_1")
    monkeypatch.setattr(StateManager, "pause_execution", lose_one)
    page = ask(operator, "pause", "gone_1", "pending_1", reason="")
    assert any("There is no session 'gone_1'" in message for message in told(page))
    assert "Session pending_1: Pending → Paused" in told(page)


def test_restoring_goes_back_and_can_be_undone(
    restorer: Client, manager: StateManager, before: Checkpoint
) -> None:
    page = ask_restore(restorer, before.id)
    assert "Restore checkpoint “before”" in page.content.decode()
    assert "Set aside: 1 step: Collector (collect:1); 1 message (" in page.content.decode()
    page = ask_restore(restorer, before.id, reason="another way")
    assert told(page) == ["Session paused_1, “before”: Paused → Paused"]
    assert manager.sync.get_session_state("paused_1").total_steps == 0
    kinds = [str(place.kind) for place in manager.sync.list_checkpoints("paused_1")]
    assert kinds == ["manual", "pre_restore"]


def test_restoring_needs_a_reason(restorer: Client, manager: StateManager, before: Checkpoint) -> None:
    assert ask_restore(restorer, before.id, reason="").status_code == 400
    assert manager.sync.get_session_state("paused_1").total_steps == 1


def test_two_checkpoints_of_one_session_are_refused(
    restorer: Client, manager: StateManager, before: Checkpoint
) -> None:
    manager.sync.create_checkpoint("paused_1", "later")
    ids = CheckpointRow.objects.values_list("pk", flat=True)
    page = ask_restore(restorer, *ids, reason="both")
    assert told(page) == ["Choose one checkpoint for each session: it can only go back to one."]


def test_an_operator_cannot_delete(operator: Client, paused: str) -> None:
    assert 'value="delete"' not in operator.get(SESSIONS).content.decode()
    ask(operator, "delete", paused, reason="forced", confirm="1")
    assert status(paused) == "paused"


@pytest.mark.parametrize("act", ["pause", "resume", "checkpoint", "cancel"])
def test_a_viewer_is_not_offered_acts_and_cannot_force_them(act: str, viewer: Client, paused: str) -> None:
    assert f'value="{act}"' not in viewer.get(SESSIONS).content.decode()
    ask(viewer, act, paused, reason="forced", name="forced", context="{}")
    assert status(paused) == "paused"
    assert CheckpointRow.objects.count() == 1


def test_an_operator_cannot_restore(operator: Client, manager: StateManager, before: Checkpoint) -> None:
    assert 'value="restore"' not in operator.get(CHECKPOINTS).content.decode()
    ask_restore(operator, before.id, reason="forced")
    assert manager.sync.get_session_state("paused_1").total_steps == 1


def test_the_page_needs_the_token_that_keeps_other_sites_out(operator: Client, paused: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    page = ask(strict, "cancel", paused, reason="forged")
    assert page.status_code == 403
    assert status(paused) == "paused"


def _offered(page: Any) -> dict[str, bool]:
    """The acts on the page of a row, and whether each can be done."""
    buttons = re.findall(
        r'<button type="submit" name="action" value="(\w+)"( disabled)?', page.rendered_content
    )
    return {verb: not disabled for verb, disabled in buttons}


def test_the_page_of_a_session_offers_the_acts_of_the_list(restorer: Client, paused: str) -> None:
    page = restorer.get(f"{SESSIONS}{Session.objects.get(session_id=paused).pk}/change/")
    assert _offered(page) == {
        "pause": False, "resume": True, "checkpoint": True, "cancel": True, "delete": True,
    }  # fmt: skip
    assert "It is paused." in page.rendered_content


def test_the_page_of_a_checkpoint_offers_to_restore_it(restorer: Client, before: Checkpoint) -> None:
    assert _offered(restorer.get(f"{CHECKPOINTS}{before.id}/change/")) == {"restore": True}


def test_the_page_of_a_row_offers_nothing_to_who_may_only_look(viewer: Client, before: Checkpoint) -> None:
    assert _offered(viewer.get(f"{CHECKPOINTS}{before.id}/change/")) == {}
    event = Event.objects.filter(session__session_id="paused_1").first()
    assert _offered(viewer.get(f"/admin/state_core/event/{event.pk}/change/")) == {}
