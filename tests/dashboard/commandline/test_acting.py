from __future__ import annotations

import pytest
from django.core.management import load_command_class

from marsys_dashboard.acts import ALL, DESTRUCTIVE, consequences
from marsys_dashboard.commandline.acting import GOALS, fields_of
from marsys_dashboard.commandline.who import system_user
from marsys_dashboard.forms import ActForm
from marsys_dashboard.models import ActivityEntry
from state_core.manager import StateManager
from tests.dashboard.commandline.conftest import Beside, run
from tests.dashboard.pages.conftest import person
from tests.dashboard.pages.test_actions import last, status
from tests.dashboard.pages.test_needs import ask

ME = f"{system_user()} (command line)"


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    manager.sync.create_session("s", title="Research")
    return manager


# Every act, on every store


def test_all_of_it_is_done_and_recorded_with_who_and_why(anywhere):
    anywhere.sync.create_session("s")
    assert run("pause", "s", "--yes", "--reason", "look").out.endswith("The session is paused.\n")
    assert (last(anywhere).actor, last(anywhere).data["reason"]) == (ME, "look")
    assert run("checkpoint", "s", "--yes").out.endswith("Checkpoint “checkpoint-1” is saved.\n")
    assert run("resume", "s", "--yes", "--context", 'a={"b": 1}', "--context", "c=text").code == 0
    assert anywhere.sync.get_session_state("s").context == {"a": {"b": 1}, "c": "text"}
    going_back = ["--checkpoint", "checkpoint-1", "--reason", "again", "--wait", "5", "--yes"]
    assert run("restore", "s", *going_back).out.endswith("default:s is paused.\n")
    assert anywhere.sync.get_session_state("s").context == {}
    assert "The restore is undone" in run("undo", "s", "--yes").out
    assert run("fork", "s", "--new-session-id", "t", "--yes").out.endswith("Forked as t, paused.\n")
    assert run("cancel", "t", "--reason", "enough", "--wait", "5", "--yes").code == 0
    assert status(anywhere, "t") == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_what_is_deleted_is_gone_and_stands_among_the_activity(session):
    told = run("delete", "s", "--reason", "old", "--yes")
    assert told.out.endswith("Session s is deleted.\n")
    entry = ActivityEntry.objects.get(session_id="s")
    assert (entry.verb, entry.actor, entry.reason) == ("delete", ME, "old")
    assert run("show", "s").code == 1


# Asked, shown, refused


def test_an_act_is_refused_after_another_event_than_was_named(session):
    session.sync.create_checkpoint("s", "meanwhile")
    told = run("pause", "s", "--expected-seq", "1", "--yes")
    assert (told.code, status(session)) == (1, "pending")
    assert "event 2 is its last, this write was made for 1" in told.err


def test_what_was_said_to_be_lost_is_what_is_lost(session, typed, monkeypatch):
    def checkpoint_then_yes(question):
        session.sync.create_checkpoint("s", "meanwhile")
        return "s"

    typed("s")
    monkeypatch.setattr("builtins.input", checkpoint_then_yes)
    told = run("cancel", "s", "--reason", "enough")
    assert (told.code, status(session)) == (1, "pending")
    assert "has moved on" in told.err


@pytest.mark.parametrize("action", ALL.values(), ids=ALL)
def test_each_act_takes_what_its_dialog_takes(action, capsys):
    with pytest.raises(SystemExit, match="0"):
        session = load_command_class("marsys_dashboard", "session")
        session.create_parser("manage.py", "session").parse_args([action.verb, "--help"])
    told = capsys.readouterr().out
    for field in fields_of(action):
        assert f"--{field.replace('_', '-')} " in told
    assert set(ActForm.FIELDS[action.verb]) - set(fields_of(action)) <= {
        "confirm",
        "edited",
        "seq",
        "asked_at",
    }
    assert ("--wait" in told) == (action.verb in GOALS)


def test_it_says_what_follows_in_the_words_of_the_dialog_and_asks(session, typed):
    asked = typed("y")
    told = run("pause", "s")
    assert told.out.startswith("Pause session: default:s  Research\nPending → Paused\n")
    for sentence in consequences(ALL["pause"]):
        assert f"  - {sentence}\n" in told.out
    assert asked == ["Pause session? [y/N] "]
    assert status(session) == "paused"


@pytest.mark.parametrize("answer", ["", "n", "s"])
def test_who_does_not_agree_has_nothing_done(session, typed, answer):
    typed(answer)
    told = run("pause", "s")
    assert (told.code, told.err) == (1, "Nothing was done.")
    assert status(session) == "pending"


@pytest.mark.parametrize("verb", sorted(DESTRUCTIVE))
def test_what_cannot_be_taken_back_is_confirmed_by_typing_the_id(session, typed, verb):
    asked = typed("y")
    assert run(verb, "s", "--reason", "old").code == 1
    assert asked == ["Type s to confirm: "]
    assert status(session) == "pending"


def test_typing_the_id_confirms(session, typed):
    typed("s")
    assert run("cancel", "s", "--reason", "old").code == 0
    assert status(session) == "cancelled"


def test_where_nobody_can_be_asked_it_is_refused_with_the_remedy(session):
    told = run("pause", "s")
    assert told.code == 1 and "pass --yes to do it without" in told.err
    assert status(session) == "pending"


def test_what_is_not_possible_now_is_refused_with_the_reason_of_the_button(session):
    told = run("resume", "s", "--yes")
    assert told.err == "default:s: It is pending. Paused, interrupted and failed sessions can be resumed."
    assert told.code == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["restore", "--checkpoint", "earli", "--reason", "x"], "no checkpoint 'earli'. Did you mean early?"),
        (["checkpoint", "--name", " "], "Name: This field is required."),
        (["checkpoint", "--name", "caf\udce9"], "Name: This is not in UTF-8."),
        (["cancel", "--reason", "caf\udce9"], "Reason: This is not in UTF-8."),
        (["cancel", "--reason", "x" * 501], "Reason: Ensure this value has at most 500 characters"),
        (["fork", "--new-session-id", "../x"], "is not a session id"),
        (["fork", "--seq", "-1"], "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_asked(session, typed, arguments, says):
    session.sync.create_checkpoint("s", "early")
    asked = typed("y")
    verb, *rest = arguments
    told = run(verb, "s", *rest)
    assert told.code == 1 and says in told.err
    assert asked == []


def test_a_context_is_given_by_keys(session):
    session.sync.pause_execution("s")
    assert "is no KEY=JSON" in run("resume", "s", "--yes", "--context", "budget").err
    assert "NaN is not a value" in run("resume", "s", "--yes", "--context", "budget=NaN").err
    assert status(session) == "paused"


# Answers


def test_who_answers_sees_what_is_asked(manager, typed):
    ask(manager, "s", prompt="Go\x1b[5m on?", choices=["yes", "no"])
    typed("n")
    told = run("answer", "s", "--answer", "yes").out
    assert "q  Planner asks, just now: Go\\x1b[5m on?\n    answer: yes\n" in told
    assert answer_of(manager, "q") is None


def answer_of(manager: StateManager, question_id: str):
    questions = manager.sync.get_session_state("s").questions
    return next(question.answer for question in questions if question.question_id == question_id)


@pytest.mark.parametrize(
    ("question", "text", "value"),
    [
        ({}, "7", "7"),
        ({"choices": ["red", 7]}, "red", "red"),
        ({"choices": ["red", 7]}, "7", 7),
        ({"schema": {"type": "integer"}}, "7", 7),
        ({"schema": {"type": "string"}}, "7", "7"),
    ],
)
def test_an_answer_is_read_as_its_question_wants_it(manager, question, text, value):
    ask(manager, "s", **question)
    assert run("answer", "s", "--answer", text, "--yes").code == 0
    assert answer_of(manager, "q") == value


@pytest.mark.parametrize(
    ("question", "text", "says"),
    [
        ({"choices": ["red", "\x1b[1m"]}, "blue", "Choose one of the answers: red, \\x1b[1m."),
        ({"schema": {"type": "integer"}}, "many", "Answer: This is no JSON"),
        ({"schema": {"type": "integer"}}, "1.5", "1.5"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(manager, question, text, says):
    ask(manager, "s", **question)
    told = run("answer", "s", "--answer", text, "--yes")
    assert told.code == 1 and says in told.err
    assert answer_of(manager, "q") is None


def test_of_several_questions_one_is_named(manager):
    ask(manager, "s", "q1")
    ask(manager, "s", "q2")
    assert "Say which by --question: q1, q2." in run("answer", "s", "--answer", "x", "--yes").err
    named = ["--answer", "x", "--yes", "--question"]
    assert "No question 'q3' is open. Open are: q1, q2." in run("answer", "s", *named, "q3").err
    assert run("answer", "s", *named, "q2").code == 0
    assert (answer_of(manager, "q1"), answer_of(manager, "q2")) == (None, "x")


# Who


@pytest.mark.django_db(transaction=True)
def test_as_a_user_it_is_that_users_act_with_that_users_permissions(session):
    for name in ("bo", "cy", "dora"):
        person(name)
    assert run("pause", "s", "--yes", "--as", "bo").code == 0
    assert last(session).actor == "bo"
    for who, arguments, lacks in (
        (
            "bo",
            ["delete", "s", "--reason", "old", "--yes"],
            "no permission to restore checkpoints, fork and delete",
        ),
        ("cy", ["resume", "s", "--yes"], "no permission to pause, resume"),
        ("dora", ["show", "s"], "dora has no permission to see sessions"),
        ("eve", ["list"], "There is no user 'eve'"),
    ):
        told = run(*arguments, "--as", who)
        assert told.code == 1 and lacks in told.err
    assert status(session) == "paused"


# Waiting


async def test_waiting_for_a_pause_tells_how_far_it_is(manager):
    async with manager.session("s", on_pause="raise") as session:
        branch = await session.open_branch("main")
        async with branch.step(agent="Reader"):
            pausing = Beside("pause", "s", "--yes", "--wait", "20")
            await pausing.notes("Pausing: 1 of 1 branch still in a step, for ")
        await session.pause_point()
    told = await pausing.ended()
    assert told.code == 0
    assert told.out.endswith("default:s is paused.\n")


def test_what_does_not_happen_in_time_stays_asked_for(session):
    session.sync.pause_execution("s")
    told = run("resume", "s", "--yes", "--wait", "0.2")
    assert told.code == 1
    assert "It has not happened within 200 ms. It stays asked for" in told.err
    assert status(session) == "resuming"
