"""Links for answering over HTTP: the dialog that shares one, withdrawing it, and the page that it opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_http_methods, require_POST

from marsys_dashboard import answer_links
from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.answer_links import Asked, Closed, Words
from marsys_dashboard.contents import SHOWN, as_text
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.failures import failure, wants_json
from marsys_dashboard.forms import ActForm, answer_fields, first_error
from marsys_dashboard.managers import manager
from marsys_dashboard.models import AnswerLink
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require
from state_core.control import open_question, refuse_if_not_taken
from state_core.exceptions import InvalidValue
from state_core.records import Head, Question
from state_core.words import ANSWER

THANKS = Words("Thank you, your answer was recorded", "You can close this page.", 200, "completed")


class ShareForm(forms.Form):
    lasts = forms.ChoiceField(label="Works for")
    to = forms.CharField(label="For whom", max_length=80, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id="act-%s", **kwargs)
        choices = [(name, words) for name, (words, _) in answer_links.lasting().items()]
        self.fields["lasts"] = forms.ChoiceField(
            label="Works for", choices=choices, initial=choices[len(choices) // 2][0]
        )

    def clean_lasts(self) -> int:
        """In seconds."""
        return answer_links.lasting()[self.cleaned_data["lasts"]][1]

    def clean_to(self) -> str:
        """On one line, as it stands in the log."""
        return " ".join(self.cleaned_data["to"].split())


# By whoever may answer


@require_http_methods(["GET", "HEAD", "POST"])
@require("view")
@require("operate")
async def share(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    if not answer_links.lasting():
        raise Http404("STATE_ANSWER_LINK_HOURS is 0: there are no links for answering here.")
    sharing = await _open(request, store, session_id)
    if request.method != "POST":
        return await sharing.show()
    if not sharing.form.is_valid():
        return await sharing.refuse(first_error(sharing.form))
    try:
        link = await sharing.done()
    except InvalidValue as error:
        return await sharing.refuse(str(error))
    return await sharing.tell(link)


@dataclass
class Sharing:
    """One request about a link for one question."""

    request: HttpRequest
    store: str
    head: Head
    question: Question
    form: ShareForm

    async def done(self) -> AnswerLink:
        given = self.form.cleaned_data
        return await answer_links.share(
            self.store, self.head, self.question, self.request.user, to=given["to"], seconds=given["lasts"]
        )

    async def show(self, problem: str = "") -> HttpResponse:
        context = self._context(
            title="Share a link for answering",
            question=self.question,
            prompt=as_text(self.question.prompt, SHOWN),
            form=self.form,
            links=await answer_links.given_out(self.store, self.head.session_id, self.question),
            problem=problem,
        )
        template = "links/_share.html" if FRAGMENT in self.request.headers else "links/share.html"
        return await page(self.request, template, context, status=400 if problem else 200)

    async def refuse(self, problem: str) -> HttpResponse:
        if wants_json(self.request):
            return JsonResponse({"ok": False, "error": problem}, status=400)
        return await self.show(problem)

    async def tell(self, link: AnswerLink) -> HttpResponse:
        """Once: the address is kept nowhere."""
        token = answer_links.token_of(link)
        address = self.request.build_absolute_uri(reverse("answer-by-link", args=[token]))
        context = self._context(title="The link for answering", link=link, address=address)
        if not wants_json(self.request):
            return await page(self.request, "links/shared.html", context)
        dialog = render_to_string("links/_shared.html", context)
        response = JsonResponse(
            {"ok": True, "message": "The link is shared.", "link": address, "dialog": dialog}
        )
        add_never_cache_headers(response)
        return response

    def _context(self, **more: Any) -> dict[str, Any]:
        return {"section": "needs", "store": self.store, "head": self.head, **more}


async def _open(request: HttpRequest, store: str, session_id: str) -> Sharing:
    """Raises QuestionNotFound, QuestionAnswered; TransitionError where the session takes no answers."""
    sent = request.POST if request.method == "POST" else request.GET
    of_store = manager(store)
    head = await of_store.get_head(session_id)
    refuse_if_not_taken(head, "answer")
    document = await of_store.log.document(session_id)
    question = Question.from_document(open_question(document, sent.get("question", "")[:128]))
    form = ShareForm(request.POST if request.method == "POST" else None)
    return Sharing(request, store, head, question, form)


@require_POST
@require("view")
@require("operate")
async def withdraw(request: HttpRequest, store: str, session_id: str, link: int) -> HttpResponse:
    links = AnswerLink.objects.filter(pk=link, store=store, session_id=session_id)
    found = await links.afirst()
    if found is None:
        return failure(request, 404, "There is no such link. It may have expired long ago.")
    await answer_links.withdraw(found, request.user)
    message = "The link is withdrawn. Whoever opens it is told so."
    if wants_json(request):
        return JsonResponse({"ok": True, "message": message})
    await sync_to_async(messages.success)(request, message)
    return HttpResponseRedirect(reverse("needs"))


# By whoever has the link


@require_http_methods(["GET", "HEAD", "POST"])
async def answer(request: HttpRequest, token: str) -> HttpResponse:
    """GET answers nothing: programs that look through mail open links."""
    try:
        response = await _answer(request, token)
    except Closed as closed:
        response = await _tell(request, closed.words)
    # Not no-referrer: a browser then sends forms with `Origin: null`, which the check of forms refuses.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


async def _answer(request: HttpRequest, token: str) -> HttpResponse:
    """Raises Closed."""
    link = await answer_links.find(token)
    asked = await answer_links.look(link)
    if request.method != "POST":
        return await _ask(request, link, asked)
    form = _answer_form(asked, request.POST.dict())
    if not form.is_valid():
        return await _ask(request, link, asked, form, form.first_error())
    try:
        await answer_links.answer(link, form.cleaned_data["answer"])
    except InvalidValue as error:
        return await _ask(request, link, asked, form, str(error))
    return await _tell(request, THANKS)


def _answer_form(asked: Asked, sent: dict[str, str] | None = None) -> ActForm:
    """Of the link's question, whatever was sent."""
    question = asked.question
    data = None if sent is None else {**sent, "question": question.question_id}
    return ActForm(ANSWER, asked.head.session_id, questions=[question], data=data)


async def _ask(
    request: HttpRequest, link: AnswerLink, asked: Asked, form: ActForm | None = None, problem: str = ""
) -> HttpResponse:
    context = {
        "head": asked.head,
        "prompt": as_text(asked.question.prompt, SHOWN),
        "link": link,
        "form": form or _answer_form(asked),
        "problem": problem,
        **answer_fields(asked.question, request.POST.dict() if form else None),
    }
    return await page(request, "links/answer.html", context, status=400 if problem else 200)


async def _tell(request: HttpRequest, words: Words) -> HttpResponse:
    return await page(request, "links/told.html", {"words": words}, status=words.status)


urlpatterns = [
    path(f"{OF_SESSION}/share/", share, name="share"),
    path(f"{OF_SESSION}/links/<int:link>/withdraw/", withdraw, name="withdraw"),
    path("answer-by-link/<str:token>/", answer, name="answer-by-link"),
]
