"""Changed contexts that another user approves, at a terminal."""

from __future__ import annotations

import json

import pytest

from marsys_dashboard.models import ActivityEntry, Proposal
from state_core.manager import StateManager
from tests.dashboard.commandline.conftest import run
from tests.dashboard.pages.conftest import person
from tests.dashboard.pages.test_actions import last
from tests.dashboard.pages.test_proposals import BEFORE, context, hold

pytestmark = pytest.mark.django_db(transaction=True)

ASK = ["resume", "s", "--context", 'topic="moon"', "--reason", "it is the moon", "--ask"]


@pytest.fixture
def held(manager: StateManager) -> StateManager:
    person("ana"), person("bo"), person("cy")
    return hold(manager)


def proposed() -> int:
    told = run(*ASK, "--as", "ana", "--yes")
    assert told.code == 0, told.err
    return Proposal.objects.latest("pk").pk


def test_a_change_is_proposed_by_one_user_and_approved_by_another_on_each_store(anywhere, settings):
    settings.REVIEW_EDITS = True
    person("ana"), person("bo")
    hold(anywhere)
    number = proposed()
    assert context(anywhere) == BEFORE
    told = run("approve", "s", "--as", "bo", "--reason", "fine", "--yes")
    assert told.out.endswith("Approved: a resume with the changed context is requested.\n")
    assert context(anywhere) == ("resuming", {"topic": "moon", "n": 1})
    assert last(anywhere).actor == "bo"
    assert last(anywhere).data["reason"] == f"Change {number} proposed by ana, approved by bo: fine"


def test_what_is_asked_for_and_what_follows_is_told_before_it_is_done(held, typed):
    asked = typed("y")
    told = run(*ASK, "--as", "ana")
    assert told.out.startswith("Ask for approval: default:s  Tides\n  - The session stays as it is until ")
    run("approve", "s", "--as", "bo")
    assert asked == ["Ask for approval? [y/N] ", "Approve the change? [y/N] "]
    assert context(held)[0] == "resuming"


def test_changes_are_listed_with_what_they_set(held):
    number = proposed()
    told = run("changes", "s").out
    assert told.startswith(f"{number}  default:s  ana asks, ")
    assert told.endswith(': it is the moon\n    topic: "tides" → "moon"\n')
    held.sync.create_checkpoint("s", "meanwhile")
    (line,) = run("changes", "--json").out.splitlines()
    found = json.loads(line)
    assert (found["number"], found["values"], found["removed"]) == (number, {"topic": "moon"}, [])
    assert "The session has moved on since" in found["moved"]
    assert "The session has moved on since" in run("approve", "s", "--as", "bo", "--yes").err


def test_what_a_change_holds_does_nothing_to_the_terminal(held):
    ask = [*ASK[:3], 'to\x1b[31mpic="\\u001b[2J\\u202e"', *ASK[4:]]
    assert run(*ask, "--as", "ana", "--yes").code == 0
    told = run("changes").out
    assert "moon" in told
    assert "\x1b" not in told and "\u202e" not in told


def test_nobody_decides_about_their_own_change_or_without_a_permission(held):
    proposed()
    for user, verb, told in (
        ("ana", "approve", "You proposed this; another person has to approve it."),
        ("ana", "decline", "You proposed this; withdraw it instead."),
        ("bo", "withdraw", "Only ana can withdraw it; decline it instead."),
        ("cy", "approve", "You have no permission to "),
    ):
        refused = run(verb, "s", "--as", user, "--reason", "x", "--yes")
        assert refused.code == 1
        assert told in refused.err
    assert context(held) == BEFORE


def test_who_says_not_who_they_are_neither_proposes_nor_decides(held):
    assert "Say by --as USER who you are" in run(*ASK, "--yes").err
    proposed()
    assert "Say by --as USER who you are" in run("approve", "s", "--yes").err
    assert context(held) == BEFORE


def test_a_change_is_declined_with_a_reason_and_then_waits_no_more(held):
    number = proposed()
    assert run("decline", "s", "--as", "bo", "--reason", "not now", "--yes").code == 0
    entry = ActivityEntry.objects.get(kind="change.declined")
    assert (entry.actor, entry.reason) == ("bo", "not now")
    assert "No change of default:s waits" in run("approve", "s", "--as", "bo", "--yes").err
    again = run("approve", "s", "--change", str(number), "--as", "bo", "--yes")
    assert again.err.startswith("bo declined this change")


def test_of_several_that_wait_one_is_named(held):
    first = proposed()
    assert run(*ASK, "--as", "bo", "--yes").code == 0
    second = Proposal.objects.latest("pk").pk
    assert f"by --change: {first}, {second}." in run("withdraw", "s", "--as", "ana", "--yes").err
    assert run("withdraw", "s", "--change", str(first), "--as", "ana", "--yes").code == 0


@pytest.mark.parametrize(
    ("without", "told"),
    [(["--context"], "Nothing in the context is changed"), (["--reason"], "Reason: say why"), ([], "--wait")],
)
def test_what_cannot_be_asked_for_is_refused(held, without, told):
    given = {"--context": "n=2", "--reason": "x", **({} if without else {"--wait": "1"})}
    options = [text for option in given.items() if option[0] not in without for text in option]
    refused = run("resume", "s", *options, "--ask", "--as", "ana", "--yes")
    assert refused.code == 1
    assert told in refused.err
    assert not Proposal.objects.exists()


def test_where_changes_are_reviewed_one_is_refused_before_anything_is_asked(held, typed, settings):
    settings.REVIEW_EDITS = True
    asked = typed("y")
    told = run("resume", "s", "--context", "n=2")
    assert (told.code, asked) == (1, [])
    assert "`manage.py session resume --ask`" in told.err
