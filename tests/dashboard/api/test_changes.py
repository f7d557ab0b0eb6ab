"""Changes of contexts that another person approves, proposed and decided by programs."""

from __future__ import annotations

import pytest
from django.test import Client

from marsys_dashboard.models import ActivityEntry, Proposal
from tests.dashboard.api.conftest import SESSION, token_of
from tests.dashboard.pages.test_actions import last
from tests.dashboard.pages.test_proposals import AFTER, BEFORE, context, decide, decision, hold, propose

pytestmark = pytest.mark.django_db

EDIT = {"edited": {"topic": "moon", "new": [1]}, "reason": "it is the moon"}


@pytest.fixture
def bos(program) -> Client:
    return program("bo")


@pytest.fixture
def held(manager):
    return hold(manager)


def send(client: Client, path: str, sent=None):
    return client.post(f"{SESSION}/changes{path}", sent or {}, content_type="application/json")


def asked(client: Client, **changed) -> int:
    seq = client.get(SESSION).json()["seq"]
    answer = send(client, "", {**EDIT, "expected_seq": seq, **changed})
    assert answer.status_code == 200, answer.content
    return answer.json()["change"]


def only(client: Client) -> dict:
    (change,) = client.get("/api/v1/changes").json()["changes"]
    return change


@pytest.mark.django_db(transaction=True)
def test_one_program_proposes_and_anothers_approves_on_every_store(
    anywhere, anas: Client, bos: Client, settings
):
    settings.REVIEW_EDITS = True
    hold(anywhere)
    number = asked(anas)
    assert context(anywhere) == BEFORE
    answer = send(bos, f"/{number}/approve", {"reason": "fine"})
    assert answer.json()["session"]["status"] == "resuming", answer.content
    assert context(anywhere) == AFTER
    event = last(anywhere)
    assert event.actor == "bo (token nightly)"
    assert event.data["reason"] == (
        f"Change {number} proposed by ana (token nightly), approved by bo (token nightly): fine"
    )


def test_what_waits_is_told_with_what_can_be_decided_by_whom(held, anas: Client, bos: Client):
    number = asked(anas)
    change = only(bos)
    assert (change["number"], change["proposer"], change["reason"]) == (
        number,
        "ana (token nightly)",
        "it is the moon",
    )
    assert (change["sets"], change["removes"], change["moved"]) == (["topic", "new"], ["n"], "")
    assert {each["verb"]: each["why_not"] for each in change["decisions"]} == {
        "approve": "",
        "decline": "",
        "withdraw": "Only ana (token nightly) can withdraw it; decline it instead.",
    }
    assert change["decisions"][0]["consequences"][0].startswith("The session is resumed with the changed")
    whole = bos.get(change["url"]).json()
    assert whole["values"] == {"topic": "moon", "new": [1]}
    assert whole["before"] == {"topic": "tides", "n": 1}
    assert bos.get(f"{SESSION}/changes").json()["changes"] == [change]


def test_a_program_and_its_person_are_one_and_cannot_approve_for_each_other(
    held, sign_in, anas: Client, bos: Client
):
    ana = sign_in("ana")
    number = asked(anas)
    answer = send(anas, f"/{number}/approve")
    assert answer.status_code == 409
    assert answer.json()["detail"] == "You proposed this; another person has to approve it."
    assert decide(ana, "approve")["error"] == "You proposed this; another person has to approve it."
    assert decide(ana, "withdraw")["ok"]
    again = send(bos, f"/{number}/approve")
    assert again.status_code == 409
    assert again.json()["detail"].startswith("ana (token nightly) withdrew this change")
    assert propose(ana)["ok"]
    assert send(bos, f"/{only(bos)['number']}/decline", {"reason": "not now"}).status_code == 200
    assert decision() == ("declined", "bo (token nightly)")
    entry = ActivityEntry.objects.get(kind="change.declined")
    assert (entry.actor, entry.reason) == ("bo (token nightly)", "not now")


def test_a_change_of_a_session_that_moved_on_is_not_approved(held, anas: Client, bos: Client):
    number = asked(anas)
    held.sync.create_checkpoint("s", "meanwhile")
    assert "The session has moved on since" in only(bos)["moved"]
    answer = send(bos, f"/{number}/approve")
    assert answer.status_code == 409
    assert "The session has moved on since" in answer.json()["detail"]
    assert context(held) == BEFORE


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        ({"reason": "x", "edited": {}}, 400, "needs the number of the event"),
        ({"reason": "x", "edited": {}, "expected_seq": 1}, 409, "has moved on"),
        ({"reason": "x", "context": {"n": 2}, "expected_seq": 1}, 409, "has moved on"),
        ({"reason": "x"}, 400, "Nothing in the context is changed"),
        ({"context": {"n": 2}}, 400, "Reason: say why"),
        ({"reason": "x", "context": {"n": 2}, "seq": 2}, 400, "seq"),
    ],
)
def test_what_cannot_be_proposed_is_refused(held, anas: Client, sent, status, told):
    answer = send(anas, "", sent)
    assert answer.status_code == status, answer.content
    assert told in answer.json()["detail"]
    assert not Proposal.objects.exists()


def test_deciding_takes_a_permission_and_a_decision(held, program, anas: Client, bos: Client):
    number = asked(anas)
    reader = Client(headers={"authorization": f"Bearer {token_of('bo', may_act=False, called='reader')}"})
    for client, told in ((program("cy"), "operate_session"), (reader, "may only read")):
        answer = send(client, f"/{number}/approve")
        assert answer.status_code == 403
        assert told in answer.json()["detail"]
        assert send(client, "", {"reason": "x", "context": {"n": 2}}).status_code == 403
    assert send(bos, f"/{number}/burn").status_code == 404
    assert send(bos, f"/{number + 1}/approve").status_code == 404
    assert send(bos, f"/{10**30}/approve").status_code == 404
    assert send(bos, f"/{number}/decline").json()["errors"][0]["field"] == "reason"
    assert context(held) == BEFORE
