"""Links for answering: shared by who may answer, opened by whoever has them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core import signing
from django.test import Client
from django.utils import timezone

from marsys_dashboard import answer_links
from marsys_dashboard.models import AnswerLink
from state_core.events import Event, EventKind
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from tests.dashboard.pages.conftest import MEMORY, person
from tests.dashboard.pages.test_activity import told
from tests.dashboard.pages.test_needs import JSON, SCHEMA, append, ask

pytestmark = pytest.mark.django_db
SHARE = "/sessions/default/s/share/"


def share(client: Client, session_id: str = "s", **given: str) -> str:
    """The link's address."""
    asked = {"question": "q", "lasts": "day", "to": "Ben", **given}
    response = client.post(f"/sessions/default/{session_id}/share/", asked, headers=JSON)
    assert response.status_code == 200, response.content
    return response.json()["link"]


@pytest.fixture
def link(ana: Client, manager: StateManager) -> str:
    ask(manager, "s", prompt="<b>Go on?</b>")
    return share(ana)


def said(link: str) -> tuple[int, str]:
    """What somebody who opens it is told."""
    response = Client().get(link)
    return response.status_code, re.search(r"<h1>([^<]*)", response.content.decode())[1]


def answers(link: str, **fields: str) -> tuple[int, str]:
    response = Client().post(link, fields or {"answer": "yes"})
    return response.status_code, re.search(r"<h1>([^<]*)", response.content.decode())[1]


def question(manager: StateManager, session_id: str = "s"):
    return manager.sync.get_session_state(session_id).questions[0]


# By whoever may answer


def test_a_question_offers_a_link_to_who_may_answer_it(ana: Client, sign_in, manager):
    ask(manager, "s")
    for page in ("/needs-you/", "/sessions/default/s/answer/"):
        assert f'href="{SHARE}?question=q"' in ana.get(page).content.decode()
    assert "Share a link" not in sign_in("cy").get("/needs-you/").content.decode()


def test_the_dialog_says_what_the_link_does_before_there_is_one(ana: Client, manager):
    ask(manager, "s", prompt="<b>Go on?</b>")
    text = ana.get(f"{SHARE}?question=q").content.decode()
    assert "once, without signing in" in text
    assert "&lt;b&gt;Go on?&lt;/b&gt;" in text
    assert not AnswerLink.objects.exists()


@pytest.mark.parametrize(("lasts", "hours"), [("hour", 1), ("day", 24), ("week", 168)])
def test_a_link_works_for_as_long_as_was_chosen(ana: Client, manager, lasts, hours):
    ask(manager, "s")
    share(ana, lasts=lasts)
    row = AnswerLink.objects.get()
    assert row.until - row.shared_at == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"lasts": "month"}, "Works for"),
        ({"lasts": ""}, "Works for"),
        ({"to": "x" * 81}, "For whom"),
        ({"question": "other"}, "no open question"),
        ({"question": ""}, "no open question"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_reason(ana: Client, manager, given, wrong):
    ask(manager, "s")
    response = ana.post(SHARE, {"question": "q", "lasts": "day", **given}, headers=JSON)
    assert response.status_code in {400, 404}
    assert wrong in response.json()["error"]
    assert not AnswerLink.objects.exists()


def test_only_so_many_links_of_a_question_are_out_at_once(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(answer_links, "MOST", 1)
    ask(manager, "s")
    share(ana)
    response = ana.post(SHARE, {"question": "q", "lasts": "day"})
    assert response.status_code == 400
    assert "Withdraw one of them first" in response.content.decode()


@pytest.mark.parametrize("name", ["cy", "dora"])
def test_who_may_not_answer_may_not_share_or_withdraw(link, sign_in, name):
    client = sign_in(name)
    assert client.get(f"{SHARE}?question=q").status_code == 403
    assert client.post(SHARE, {"question": "q", "lasts": "day"}).status_code == 403
    row = AnswerLink.objects.get()
    assert client.post(f"/sessions/default/s/links/{row.pk}/withdraw/").status_code == 403
    assert said(link)[0] == 200


def test_a_link_is_neither_shared_nor_withdrawn_by_a_form_from_elsewhere(link, manager):
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    assert client.post(SHARE, {"question": "q", "lasts": "day"}).status_code == 403
    row = AnswerLink.objects.get()
    assert client.post(f"/sessions/default/s/links/{row.pk}/withdraw/").status_code == 403
    assert said(link)[0] == 200


def test_links_can_be_shortened_and_switched_off(link, ana: Client, settings):
    settings.ANSWER_LINK_AGE = 2 * 3600
    text = ana.get(f"{SHARE}?question=q").content.decode()
    assert 'value="hour"' in text
    assert 'value="day"' not in text
    settings.ANSWER_LINK_AGE = 0
    assert said(link) == (410, "This link has expired")
    assert answers(link) == (410, "This link has expired")
    assert ana.get(f"{SHARE}?question=q").status_code == 404
    assert "Share a link" not in ana.get("/needs-you/").content.decode()


def test_links_given_out_are_listed_and_can_be_withdrawn_by_others_who_may_answer(link, sign_in):
    bo = sign_in("bo")
    text = bo.get(f"{SHARE}?question=q").content.decode()
    assert "For <b>Ben</b>, shared by ana" in text
    assert link not in text
    withdrawal = re.search(r'action="([^"]*/withdraw/)"', text)[1]
    assert bo.post(withdrawal, headers=JSON).json()["ok"]
    assert said(link) == (410, "This link was withdrawn")
    assert answers(link) == (410, "This link was withdrawn")
    assert "Links given out" not in bo.get(f"{SHARE}?question=q").content.decode()


def test_a_link_is_withdrawn_through_its_own_session_alone(link, ana: Client, manager):
    ask(manager, "t")
    row = AnswerLink.objects.get()
    assert ana.post(f"/sessions/default/t/links/{row.pk}/withdraw/").status_code == 404
    assert said(link)[0] == 200


def test_a_link_of_a_session_that_was_deleted_can_still_be_withdrawn(link, ana: Client, manager):
    manager.sync.delete_session("s")
    row = AnswerLink.objects.get()
    assert ana.post(f"/sessions/default/s/links/{row.pk}/withdraw/", headers=JSON).json()["ok"]


def test_the_log_and_activity_say_who_shared_withdrew_and_answered(link, ana: Client, sign_in, manager):
    row = AnswerLink.objects.get()
    ana.post(f"/sessions/default/s/links/{row.pk}/withdraw/")
    answers(share(sign_in("bo"), to="Ben\n Adams"))
    assert [(actor, did) for actor, did, _ in told(ana)][:4] == [
        ("link of bo for Ben Adams", "input answered"),
        ("bo", "link shared"),
        ("ana", "link withdrawn"),
        ("ana", "link shared"),
    ]
    assert "for Ben Adams · until 20" in ana.get("/activity/?verb=share").content.decode()
    assert "link of bo for Ben Adams" in ana.get("/activity/?verb=answer&who=people").content.decode()
    assert question(manager).answered_by == "link of bo for Ben Adams"


def test_rows_of_links_that_expired_long_ago_go(link, ana: Client, manager):
    AnswerLink.objects.update(until=timezone.now() - answer_links.KEPT - timedelta(seconds=1))
    share(ana)
    assert AnswerLink.objects.count() == 1


# By whoever has the link


def test_a_link_shows_the_question_and_nothing_else_of_the_session(ana: Client, manager):
    ask(manager, "s", prompt="<b>Go on?</b>", choices=["left", "right"])
    ask(manager, "s", "other", prompt="secret question")
    response = Client().get(share(ana))
    text = response.content.decode()
    assert "Title of s" in text
    assert "&lt;b&gt;Go on?&lt;/b&gt;" in text
    assert 'type="radio" name="answer" value="1"' in text
    assert "secret question" not in text
    assert "/sessions/" not in text
    assert "socket" not in text


def test_what_a_link_opens_is_kept_from_caches_search_engines_and_other_sites(link):
    for address in (link, link[:-2] + "/"):
        headers = Client().get(address).headers
        assert "no-store" in headers["Cache-Control"]
        assert headers["Referrer-Policy"] == "strict-origin"
        assert headers["X-Robots-Tag"] == "noindex, nofollow"


def test_an_answer_is_recorded_once_and_thanked_for(link, manager):
    assert said(link)[0] == 200
    assert question(manager).status == "open"
    assert answers(link) == (200, "Thank you, your answer was recorded")
    assert question(manager).answer == "yes"
    assert answers(link, answer="no") == (410, "This question was answered")
    assert said(link) == (410, "This question was answered")
    assert question(manager).answer == "yes"


def test_an_answer_by_a_form_from_elsewhere_is_refused(link, manager):
    client = Client(enforce_csrf_checks=True)
    client.get(link)
    assert client.post(link, {"answer": "yes"}).status_code == 403
    assert question(manager).status == "open"


def test_the_form_of_the_page_passes_that_check(link, manager):
    client = Client(enforce_csrf_checks=True)
    form = client.get(link).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    assert client.post(link, {"answer": "yes", "csrfmiddlewaretoken": token}).status_code == 200
    assert question(manager).answer == "yes"


@pytest.mark.parametrize("method", ["get", "head", "options", "put"])
def test_nothing_but_a_form_that_is_sent_answers(link, manager, method):
    getattr(Client(), method)(f"{link}?answer=yes")
    assert question(manager).status == "open"


def test_an_answer_that_does_not_fit_is_refused_and_what_was_typed_stays(ana: Client, manager):
    ask(manager, "s", schema=SCHEMA)
    link = share(ana)
    filled = {"answer_fields": "1", "answer.amount": "0", "answer.go": "true", "answer.note": "<i>"}
    response = Client().post(link, filled)
    text = response.content.decode()
    assert response.status_code == 400
    assert "less than the minimum" in text
    assert "&lt;i&gt;</textarea>" in text
    assert '<option value="true" selected>' in text
    assert answers(link, **{**filled, "answer.amount": "3"})[0] == 200
    assert question(manager).answer == {"amount": 3, "go": True, "note": "<i>"}


def test_a_link_answers_its_own_question_whatever_is_sent(link, manager):
    ask(manager, "s", "other")
    assert answers(link, answer="yes", question="other")[0] == 200
    assert {q.question_id: q.status for q in manager.sync.get_session_state("s").questions} == {
        "q": "answered",
        "other": "open",
    }


MADE_UP = {
    "nonsense": "nonsense",
    "colons": "a:b:c",
    "another salt": signing.dumps("x", salt="marsys.sign-in"),
    "no key": signing.dumps("x", salt=answer_links.SALT),
    "no text": signing.dumps({"x": [1]}, salt=answer_links.SALT),
}


@pytest.mark.parametrize("token", MADE_UP.values(), ids=MADE_UP)
def test_a_link_that_was_made_up_shows_nothing(link, manager, token):
    assert said(f"/answer-by-link/{token}/") == (404, "This link does not work")
    assert answers(f"/answer-by-link/{token}/") == (404, "This link does not work")
    assert question(manager).status == "open"


def test_a_wrong_signature_costs_no_look_at_the_database(link, django_assert_num_queries):
    for wrong in ("nonsense", link.rstrip("/").rpartition("/")[2][:-1] + "!"):
        with django_assert_num_queries(0):
            assert Client().get(f"/answer-by-link/{wrong}/").status_code == 404


def test_the_signature_of_one_link_does_not_fit_another(link, ana: Client, manager):
    ask(manager, "t")
    one, other = (address.rstrip("/").rpartition("/")[2] for address in (link, share(ana, "t")))
    mixed = ":".join([*one.split(":")[:2], other.split(":")[2]])
    assert said(f"/answer-by-link/{mixed}/")[0] == 404


def test_a_link_that_expired_says_so(link, manager):
    AnswerLink.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert said(link) == (410, "This link has expired")
    assert answers(link) == (410, "This link has expired")
    assert question(manager).status == "open"


def _loses_the_permission() -> None:
    person("ana").user_permissions.clear()


def _is_deactivated() -> None:
    user = person("ana")
    user.is_active = False
    user.save()


@pytest.mark.parametrize("happens", [_loses_the_permission, _is_deactivated])
def test_a_link_ends_when_who_shared_it_may_answer_no_more(link, manager, happens):
    happens()
    assert said(link) == (410, "This link was withdrawn")
    assert answers(link) == (410, "This link was withdrawn")
    assert question(manager).status == "open"


def test_a_link_goes_with_the_account_of_who_shared_it(link):
    person("ana").delete()
    assert said(link) == (404, "This link does not work")


def test_who_has_a_link_is_not_told_who_else_answered(link, manager):
    manager.sync.answer("s", "q", "no", actor="bo")
    response = Client().post(link, {"answer": "yes"})
    assert "This question was answered" in response.content.decode()
    assert "bo" not in re.search(r"<main.*</main>", response.content.decode(), re.DOTALL)[0].split()
    assert question(manager).answer == "no"


def restore(manager: StateManager, checkpoint_id: str) -> None:
    manager.sync.restore_checkpoint(checkpoint_id, session_id="s")


def test_a_link_is_used_up_though_a_restore_opens_its_question_again(link, manager):
    before = manager.sync.create_checkpoint("s", "before the answer")
    answers(link)
    restore(manager, before)
    assert question(manager).status == "open"
    assert answers(link, answer="no") == (410, "This question was answered")


def test_a_link_answers_no_question_that_was_asked_anew_after_a_restore(ana: Client, manager):
    manager.sync.create_session("s")
    append(manager, "s", Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "plan"}))
    before = manager.sync.create_checkpoint("s", "before the question")
    ask(manager, "s")
    link = share(ana)
    restore(manager, before)
    assert said(link) == (410, "The session has moved on")
    ask(manager, "s")
    assert said(link) == (410, "The session has moved on")
    assert answers(link) == (410, "The session has moved on")
    assert question(manager).status == "open"
    assert "Links given out" not in ana.get(f"{SHARE}?question=q").content.decode()


def _deletes(manager: StateManager) -> None:
    manager.sync.delete_session("s")


def _deletes_and_makes_another(manager: StateManager) -> None:
    manager.sync.delete_session("s")
    ask(manager, "s")


def _cancels(manager: StateManager) -> None:
    manager.sync.cancel_execution("s")


@pytest.mark.parametrize("happens", [_deletes, _deletes_and_makes_another, _cancels])
def test_a_link_says_that_the_session_has_moved_on(link, manager, happens):
    happens(manager)
    assert said(link) == (410, "The session has moved on")
    assert answers(link) == (410, "The session has moved on")


def test_a_link_into_a_store_that_is_shown_no_more_leads_nowhere(link, use_stores):
    use_stores(other=MEMORY)
    assert said(link) == (410, "The session has moved on")


def test_what_goes_wrong_in_the_store_is_not_told_to_strangers(link, manager, monkeypatch, caplog):
    async def away(*_: object, **__: object):
        raise StorageUnavailable("The database does not answer at db.example.")

    monkeypatch.setattr(manager.storage, "head", away)
    status, title = said(link)
    assert (status, title) == (503, "The question cannot be shown at the moment")
    assert "db.example" in caplog.text
