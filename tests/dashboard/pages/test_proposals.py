"""Changes of a context that another person approves before the session is resumed with them."""

from __future__ import annotations

import html
import io
import json
import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from marsys_dashboard import managers, proposals
from marsys_dashboard.activity import forget
from marsys_dashboard.context_edit import MOST_LINES
from marsys_dashboard.models import Decision, Proposal
from state_core import new_encryption_key
from state_core.codec import Key
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from tests.dashboard.pages.conftest import DATABASE, MEMORY, person

pytestmark = pytest.mark.django_db
JSON = {"accept": "application/json"}
SESSION = "/sessions/default/s/"


@pytest.fixture
def bo(sign_in) -> Client:
    return sign_in("bo")


@pytest.fixture
def held(manager: StateManager) -> StateManager:
    return hold(manager)


def hold(manager: StateManager) -> StateManager:
    manager.sync.create_session("s", title="Tides", context={"topic": "tides", "n": 1})
    manager.sync.pause_execution("s")
    return manager


def propose(client: Client, edited: str = '{"topic": "moon", "new": [1]}', **fields: str) -> dict:
    """As the Resume dialog does it."""
    page = client.get(f"{SESSION}resume/").content.decode()
    seq = re.search(r'name="seq" value="(\d+)"', page)[1]
    filled = {"edited": edited, "seq": seq, "reason": "it is the moon", "ask": "1", **fields}
    return client.post(f"{SESSION}resume/", filled, headers=JSON).json()


def decide(client: Client, verb: str, number: int | None = None, **fields: str) -> dict:
    number = number or Proposal.objects.latest("pk").pk
    return client.post(f"{SESSION}changes/{number}/{verb}/", fields, headers=JSON).json()


def text_of(client: Client, path: str = SESSION) -> str:
    return html.unescape(client.get(path).content.decode())


def decision() -> tuple[str, str]:
    proposal = Proposal.objects.latest("pk")
    return proposal.decision, proposal.decided_by


def context(manager: StateManager) -> tuple[str, dict]:
    state = manager.sync.get_session_state("s")
    return state.status, state.context


BEFORE = ("paused", {"topic": "tides", "n": 1})
AFTER = ("resuming", {"topic": "moon", "new": [1]})


@pytest.fixture(
    params=["memory", "file", pytest.param("database", marks=pytest.mark.django_db(transaction=True))]
)
def on_each_store(request, tmp_path, use_stores) -> StateManager:
    entries = {"memory": MEMORY, "file": {"URL": f"file:{tmp_path}"}, "database": DATABASE}
    use_stores(default=entries[request.param])
    return hold(managers.manager("default"))


def test_another_person_approves_and_the_log_names_both(on_each_store, ana: Client, bo: Client):
    assert propose(ana)["ok"]
    assert context(on_each_store) == BEFORE
    assert decide(bo, "approve", reason="fine")["ok"]
    assert context(on_each_store) == AFTER
    last = on_each_store.sync.get_head("s").last_seq
    event = async_to_sync(on_each_store.log.read)("s", after=last - 1)[0]
    assert event.actor == "bo"
    assert re.fullmatch(r"Change \d+ proposed by ana, approved by bo: fine", event.data["reason"])
    assert decision() == ("approved", "bo")


def test_it_is_shown_in_the_inbox_and_on_the_page_of_its_session_with_what_it_changes(
    held, ana: Client, bo: Client
):
    propose(ana)
    for path in ("/needs-you/", SESSION):
        text = text_of(bo, path)
        assert "<b>ana</b> asks for approval" in text
        assert "it is the moon" in text
        lines = re.findall(r'<li data-kind="(\w+)"><b>([^<]+)</b>(.*?)</li>', text)
        assert lines == [
            ("changed", "topic is changed", '<del>"tides"</del><ins>"moon"</ins>'),
            ("added", "new is added", "<ins>[1]</ins>"),
            ("removed", "n is removed", "<del>1</del>"),
        ]


def test_programs_read_it_with_the_inbox(held, ana: Client):
    propose(ana)
    told = ana.get("/needs-you/", headers=JSON).json()["proposals"]
    assert [(p["session_id"], p["proposer"], p["reason"], p["moved"]) for p in told] == [
        ("s", "ana", "it is the moon", "")
    ]
    whole = ana.get(f"{SESSION}changes/{told[0]['id']}.json").json()
    assert whole == {
        "values": {"topic": "moon", "new": [1]},
        "removed": ["n"],
        "before": {"topic": "tides", "n": 1},
    }


def test_additional_context_is_part_of_the_change(held, ana: Client, bo: Client):
    assert propose(ana, edited="", context='{"more": true}')["ok"]
    decide(bo, "approve")
    assert context(held) == ("resuming", {"topic": "tides", "n": 1, "more": True})


def test_who_proposed_it_cannot_approve_it_and_the_button_says_why(held, ana: Client):
    propose(ana)
    text = text_of(ana)
    assert 'data-act="approve" aria-disabled="true" title="You proposed this; another person' in text
    assert "another person has to approve it" in decide(ana, "approve")["error"]
    assert "withdraw it instead" in decide(ana, "decline", reason="no")["error"]
    assert context(held) == BEFORE


def test_declining_needs_a_reason_and_changes_nothing(held, ana: Client, bo: Client):
    propose(ana)
    assert "Reason" in decide(bo, "decline")["error"]
    assert decide(bo, "decline", reason="not the moon")["ok"]
    assert decision() == ("declined", "bo")
    assert context(held) == BEFORE
    assert "asks for approval" not in text_of(ana)


def test_who_proposed_it_withdraws_it_and_nobody_else_can(held, ana: Client, bo: Client):
    propose(ana)
    assert "Only ana can withdraw it" in decide(bo, "withdraw")["error"]
    assert decide(ana, "withdraw")["ok"]
    assert decision() == ("withdrawn", "ana")
    assert "ana withdrew this change" in decide(bo, "approve")["error"]


def test_what_is_decided_is_forgotten(held, ana: Client, bo: Client):
    propose(ana)
    decide(bo, "decline", reason="no")
    assert bytes(Proposal.objects.get().change) == b""


def test_a_second_proposal_stands_in_the_place_of_the_first(held, ana: Client, bo: Client):
    propose(ana)
    propose(ana, '{"topic": "sun", "n": 1}')
    first, second = Proposal.objects.order_by("pk")
    assert (first.decision, second.decision) == ("replaced", "waiting")
    assert "ana proposed another change" in decide(bo, "approve", first.pk)["error"]
    decide(bo, "approve", second.pk)
    assert context(held)[1] == {"topic": "sun", "n": 1}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"reason": ""}, "say why"),
        ({"edited": '{"topic": "tides", "n": 1}'}, "Nothing in the context is changed"),
        ({"edited": "[1]"}, "JSON object"),
        ({"edited": '{"a": "\\ud800"}'}, "cannot be stored"),
    ],
)
def test_what_cannot_be_proposed_is_refused_and_says_why(held, ana: Client, fields, told):
    assert told in propose(ana, **fields)["error"]
    assert not Proposal.objects.exists()


def test_a_session_that_cannot_be_resumed_takes_no_proposal(held, ana: Client):
    filled = {"edited": "{}", "seq": str(held.sync.get_head("s").last_seq), "reason": "x", "ask": "1"}
    held.sync.cancel_execution("s")
    told = ana.post(f"{SESSION}resume/", filled, headers=JSON)
    assert told.status_code == 409
    assert "Paused, interrupted and failed sessions can be resumed" in told.json()["error"]


# The session moves on


def test_an_overtaken_change_is_refused_with_what_moved(on_each_store, ana: Client, bo: Client):
    propose(ana)
    on_each_store.sync.create_checkpoint("s", "meanwhile", actor="cy")
    assert "moved on since: Checkpoint created by cy “meanwhile”" in decide(bo, "approve")["error"]
    assert context(on_each_store) == BEFORE
    assert decision() == ("waiting", "")


def test_a_session_that_moves_on_while_somebody_approves_is_refused_too(
    held, ana: Client, bo: Client, monkeypatch
):
    propose(ana)
    resume = StateManager.resume_execution

    async def late(self, *given, **named):
        await self.create_checkpoint("s", "just now")
        return await resume(self, *given, **named)

    monkeypatch.setattr(StateManager, "resume_execution", late)
    assert "Nothing was changed. The session has moved on" in decide(bo, "approve")["error"]
    assert context(held) == BEFORE
    assert decision() == ("waiting", "")


def test_it_is_proposed_again_over_the_context_as_it_is_now(held, ana: Client, bo: Client):
    propose(ana)
    number = Proposal.objects.get().pk
    held.sync.resume_execution("s", {"other": 2}, actor="bo")
    held.sync.pause_execution("s")
    again = f"{SESSION}resume/?again={number}"
    assert again in text_of(ana)
    assert again not in text_of(bo)
    text = text_of(ana, again)
    edited = re.search(r'name="edited"[^>]*>(.*?)</textarea>', text, re.DOTALL)[1]
    assert json.loads(edited) == {"topic": "moon", "other": 2, "new": [1]}
    assert 'value="it is the moon"' in text
    propose(ana, edited)
    decide(bo, "approve")
    assert context(held) == ("resuming", {"topic": "moon", "other": 2, "new": [1]})
    assert Proposal.objects.get(pk=number).decision == "replaced"


def test_only_who_proposed_it_proposes_it_again(held, ana: Client, bo: Client):
    propose(ana)
    number = Proposal.objects.get().pk
    assert bo.get(f"{SESSION}resume/?again={number}", headers=JSON).status_code == 409
    assert ana.get(f"{SESSION}resume/?again={number + 1}", headers=JSON).status_code == 404


def test_a_change_of_a_deleted_session_waits_no_more(held, ana: Client, bo: Client):
    propose(ana)
    held.sync.delete_session("s")
    hold(held)
    assert "asks for approval" not in text_of(bo, "/needs-you/")
    assert "was deleted" in decide(bo, "approve")["error"]
    assert bytes(Proposal.objects.get().change) == b""


def test_deleting_a_session_forgets_what_was_proposed_for_it_at_once(held, ana: Client):
    propose(ana)
    ana.post(f"{SESSION}delete/", {"confirm": "s", "reason": "old"}, headers=JSON)
    proposal = Proposal.objects.get()
    assert (proposal.decision, bytes(proposal.change)) == ("gone", b"")


# Two at once, and processes that end


def test_of_two_who_approve_one_wins_and_the_other_is_told(held, ana: Client, bo: Client, monkeypatch):
    propose(ana)
    claim = proposals._claim

    async def late(proposal, actor):
        """Both have read it before either claims it."""
        if actor == "bo":
            waiting = await proposals.look(await proposals.get(proposal.pk, "default", "s"))
            await proposals.approve(waiting, "cy", "")
        await claim(proposal, actor)

    monkeypatch.setattr(proposals, "_claim", late)
    told = decide(bo, "approve")
    assert told["error"] == "cy approved this change just now."
    assert decision() == ("approved", "cy")
    assert context(held) == AFTER


def left_behind(ago: timedelta) -> None:
    """As a process leaves it that ends while it approves."""
    at = timezone.now() - ago
    Proposal.objects.update(decision=Decision.APPROVING, decided_by="bo", decided_at=at)


def test_while_somebody_approves_nobody_else_decides(held, ana: Client, sign_in):
    propose(ana)
    left_behind(timedelta(0))
    assert "bo is approving this change just now" in decide(ana, "withdraw")["error"]
    assert decision() == ("approving", "bo")


def test_an_approval_that_was_not_carried_out_waits_again(held, ana: Client, bo: Client):
    propose(ana)
    left_behind(2 * proposals.CLAIM)
    assert "asks for approval" in text_of(bo)
    assert decision() == ("waiting", "")


def test_an_approval_that_was_carried_out_is_known_by_the_log(held, ana: Client, bo: Client, monkeypatch):
    propose(ana)
    resume = StateManager.resume_execution

    async def unanswered(self, *given, **named):
        await resume(self, *given, **named)
        raise StorageUnavailable("the line was cut")

    monkeypatch.setattr(StateManager, "resume_execution", unanswered)
    assert "the line was cut" in decide(bo, "approve")["error"]
    assert decision() == ("approving", "bo")
    assert "asks for approval" not in text_of(bo)
    assert decision() == ("approved", "bo")


# People


def test_who_may_only_look_sees_it_without_buttons(held, ana: Client, sign_in):
    propose(ana)
    cy = sign_in("cy")
    assert "asks for approval" in text_of(cy)
    assert 'data-act="approve"' not in text_of(cy)
    assert cy.post(f"{SESSION}changes/{Proposal.objects.get().pk}/approve/", headers=JSON).status_code == 403


def test_the_change_of_somebody_who_lost_the_permission_is_not_approved(held, ana: Client, bo: Client):
    propose(ana)
    person("ana").user_permissions.clear()
    assert "ana has no permission to pause, resume" in decide(bo, "approve")["error"]
    get_user_model().objects.get(username="ana").delete()
    assert "ana has no permission to pause, resume" in decide(bo, "approve")["error"]
    assert decide(bo, "decline", reason="she left")["ok"]


def test_what_people_and_programs_wrote_is_text_and_bounded(manager, ana: Client, bo: Client):
    hostile = "<script>alert(1)</script>"
    manager.sync.create_session("s", context={hostile: hostile})
    manager.sync.pause_execution("s")
    many = {f"{hostile}{number}": hostile * 500 for number in range(MOST_LINES + 3)}
    propose(ana, json.dumps(many), reason=hostile)
    for path in ("/needs-you/", SESSION, f"{SESSION}changes/{Proposal.objects.get().pk}/approve/"):
        page = bo.get(path).content.decode()
        assert hostile not in page
        assert len(page) < 500_000
        assert "4 more values are changed" in page


def test_a_change_of_an_encrypted_session_is_stored_under_its_key(use_stores, ana: Client, bo: Client):
    key = new_encryption_key()
    use_stores(default={**MEMORY, "ENCRYPTION_KEY": [key]})
    hold(managers.manager("default"))
    propose(ana, '{"topic": "very secret"}')
    proposal = Proposal.objects.get()
    assert "e:" in proposal.encoding
    assert b"secret" not in bytes(proposal.change)
    assert "very secret" in text_of(bo)
    Proposal.objects.update(encoding=re.sub("e:[^+]*", "e:lost", proposal.encoding))
    assert "The change cannot be shown" in text_of(bo)
    assert "key" in decide(bo, "approve")["error"]


# Where it is demanded


def test_where_review_is_demanded_a_context_is_only_changed_by_a_proposal(
    held, ana: Client, bo: Client, settings
):
    settings.REVIEW_EDITS = True
    seq = held.sync.get_head("s").last_seq
    for change in ({"edited": "{}", "seq": seq}, {"context": '{"n": 2}'}):
        told = ana.post(f"{SESSION}resume/", change, headers=JSON)
        assert told.status_code == 409
        assert "Ask for approval: in its Resume dialog" in told.json()["error"]
    assert context(held) == BEFORE
    propose(ana)
    decide(bo, "approve")
    assert context(held) == AFTER


def test_where_review_is_demanded_a_session_is_resumed_as_it_is_by_one_person(held, ana: Client, settings):
    settings.REVIEW_EDITS = True
    assert "another person approves a changed context" in text_of(ana, f"{SESSION}resume/")
    assert ana.post(f"{SESSION}resume/", {}, headers=JSON).json()["ok"]
    assert "act-context" not in text_of(ana, "/jobs/new/resume/?q=s")


# What is kept of it


def exported(client: Client, verb: str) -> list[tuple[str, str, str]]:
    async def read() -> list[dict[str, str]]:
        return [json.loads(line) async for line in response]

    response = client.get("/activity/export.jsonl", {"verb": verb})
    return [(row["actor"], row["kind"], row["reason"]) for row in async_to_sync(read)()]


def test_all_of_it_stands_in_the_activity(held, ana: Client, bo: Client):
    propose(ana)
    decide(bo, "decline", reason="no")
    propose(ana)
    decide(ana, "withdraw")
    propose(ana)
    decide(bo, "approve")
    async_to_sync(forget)()
    assert exported(ana, "review") == [
        ("ana", "change.proposed", "it is the moon"),
        ("ana", "change.withdrawn", ""),
        ("ana", "change.proposed", "it is the moon"),
        ("bo", "change.declined", "no"),
        ("ana", "change.proposed", "it is the moon"),
    ]
    approved = exported(ana, "resume")
    assert [(actor, kind) for actor, kind, _ in approved] == [("bo", "resume.requested")]
    assert "proposed by ana, approved by bo" in approved[0][2]
    assert "Change declined" in text_of(ana, "/activity/")


def test_the_admin_shows_it_and_changes_nothing(held, ana: Client):
    propose(ana)
    user = person("ana")
    user.is_staff = True
    user.save()
    number = Proposal.objects.get().pk
    assert "it is the moon" in text_of(ana, "/admin/marsys_dashboard/proposal/")
    row = text_of(ana, f"/admin/marsys_dashboard/proposal/{number}/change/")
    assert "Save" not in re.findall(r'<input type="submit" value="([^"]*)"', row)
    assert ana.post(f"/admin/marsys_dashboard/proposal/{number}/delete/").status_code == 403


@pytest.fixture
def sealed(use_stores, ana: Client) -> list[str]:
    """Two keys, of which the second was the only one when ana proposed a change."""
    new, old = new_encryption_key(), new_encryption_key()
    use_stores(default={**DATABASE, "ENCRYPTION_KEY": [old]})
    hold(managers.manager("default"))
    assert propose(ana)["ok"]
    use_stores(default={**DATABASE, "ENCRYPTION_KEY": [new, old]})
    return [new, old]


def rotate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate_keys", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_waits_is_sealed_anew_when_keys_are_rotated(sealed, use_stores, bo: Client):
    before = Proposal.objects.get().encoding
    assert ", and 1 proposed change.\n" in rotate("--dry-run")
    assert Proposal.objects.get().encoding == before
    assert ", and 1 proposed change.\n" in rotate("--yes")
    assert "already" in rotate("--yes")
    new, old = sealed
    use_stores(default={**DATABASE, "ENCRYPTION_KEY": [new]})
    assert decide(bo, "approve")["ok"]
    assert context(managers.manager("default")) == AFTER


@pytest.mark.django_db(transaction=True)
def test_a_key_that_a_change_waits_under_is_named_where_it_is_missing(sealed, use_stores):
    rotate("--session", "other", "--yes")
    new, old = sealed
    managers.manager("default").sync.rotate_keys()
    assert f"Not needed any more: key {Key(old).id}" not in rotate("--dry-run")
    use_stores(default={**DATABASE, "ENCRYPTION_KEY": [new]})
    with pytest.raises(CommandError, match=f"cannot be read without key {Key(old).id}"):
        rotate("--yes")
