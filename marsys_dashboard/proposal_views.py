"""Changes that wait for approval, as people see and decide them: cards, a dialog, and a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_safe

from marsys_dashboard import proposals
from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.acts import ALL
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.deciding import CONSEQUENCES, DECIDE, ReasonForm, to_decide
from marsys_dashboard.failures import failure, sentence, status_of, wants_json
from marsys_dashboard.forms import first_error
from marsys_dashboard.pages import json_file, page
from marsys_dashboard.permissions import permissions_of, require
from marsys_dashboard.proposals import CannotDecide, Undecided
from state_core.exceptions import StateError

LABELS = {"approve": "Approve…", "decline": "Decline…", "withdraw": "Withdraw…"}


@dataclass(frozen=True)
class Button:
    verb: str
    why_not: str

    @property
    def label(self) -> str:
        return LABELS[self.verb]


@dataclass(frozen=True)
class Card:
    """A proposal as one person sees it."""

    waiting: Undecided
    user: Any
    permissions: Collection[str]

    @property
    def is_own(self) -> bool:
        return self.waiting.is_own(self.user)

    @property
    def buttons(self) -> list[Button]:
        return [self._button(verb) for verb in (("withdraw" if self.is_own else "decline"), "approve")]

    @property
    def why_not_approve(self) -> str:
        return self._button("approve").why_not

    @property
    def can_be_again(self) -> bool:
        """May this person propose it once more, now that its session moved on?"""
        may = self.is_own and "operate" in self.permissions
        return bool(may and self.waiting.moved and self.waiting.change)

    def _button(self, verb: str) -> Button:
        return Button(verb, self.waiting.why_not(verb, self.user, self.permissions))


async def cards(request: HttpRequest, found: proposals.Found) -> list[Card]:
    permissions = await permissions_of(request.user)
    return [Card(waiting, request.user, permissions) for waiting in found.waiting]


async def of_session(request: HttpRequest, store: str, session_id: str) -> dict[str, Any]:
    """What proposals/_of_session.html needs."""
    number, seen = await proposals.count()
    found = await proposals.find(store=store, session_id=session_id) if number else proposals.Found()
    return {"proposals": await cards(request, found), "proposals_seen": seen}


@require_safe
@require("view")
async def section(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """Those of a session, for its page."""
    return await page(request, "proposals/_of_session.html", await of_session(request, store, session_id))


@require_http_methods(["GET", "HEAD", "POST"])
@require("operate")
async def decide(request: HttpRequest, store: str, session_id: str, number: int, verb: str) -> HttpResponse:
    if verb not in DECIDE:
        raise Http404(f"Nothing is called {verb!r} here.")
    try:
        waiting = await to_decide(number, store, session_id)
    except CannotDecide as error:
        return failure(request, 409, str(error), "This change waits no more")
    card = Card(waiting, request.user, await permissions_of(request.user))
    form = ReasonForm(verb, request.POST if request.method == "POST" else None)
    if request.method != "POST":
        return await _show(request, card, verb, form)
    why_not = waiting.why_not(verb, request.user, card.permissions)
    if why_not or not form.is_valid():
        return await _refuse(request, card, verb, form, 409 if why_not else 400, why_not or first_error(form))
    try:
        done = await DECIDE[verb](waiting, request.user.get_username(), form.cleaned_data["reason"])
    except StateError as error:
        return await _refuse(request, card, verb, form, status_of(error) or 500, sentence(error))
    if wants_json(request):
        return JsonResponse({"ok": True, "message": done.message, "logged": done.is_logged})
    await sync_to_async(messages.success)(request, done.message)
    return HttpResponseRedirect(reverse("session", args=[store, session_id]))


async def _show(
    request: HttpRequest, card: Card, verb: str, form: ReasonForm, status: int = 200, problem: str = ""
) -> HttpResponse:
    waiting = card.waiting
    context = {
        "section": "needs",
        "store": waiting.proposal.store,
        "head": waiting.head,
        "card": card,
        "verb": verb,
        "title": f"{verb.capitalize()} the change",
        "becomes": ALL["resume"].becomes(waiting.head.status),
        "consequences": CONSEQUENCES[verb],
        "why_not": waiting.why_not(verb, card.user, card.permissions),
        "form": form,
        "problem": problem,
    }
    template = "proposals/_dialog.html" if FRAGMENT in request.headers else "proposals/dialog.html"
    return await page(request, template, context, status=status)


async def _refuse(
    request: HttpRequest, card: Card, verb: str, form: ReasonForm, status: int, message: str
) -> HttpResponse:
    """Nothing was done, and why."""
    if not wants_json(request):
        return await _show(request, card, verb, form, status, message)
    fields = {name: errors[0] for name, errors in form.errors.items()}
    return JsonResponse({"ok": False, "error": message, "fields": fields}, status=status)


@require_safe
@require("view")
async def change_json(request: HttpRequest, store: str, session_id: str, number: int) -> HttpResponse:
    """The whole of a change that waits."""
    proposal = await proposals.get(number, store, session_id)
    waiting = await proposals.look(proposal)
    if waiting is None or waiting.change is None:
        raise Http404(waiting.note if waiting else proposals.told(proposal))
    return json_file(asdict(waiting.change), f"{session_id}-change-{number}.json")


urlpatterns = [
    path(f"{OF_SESSION}/changes/", section, name="proposals"),
    path(f"{OF_SESSION}/changes/<int:number>.json", change_json, name="proposal-json"),
    path(f"{OF_SESSION}/changes/<int:number>/<slug:verb>/", decide, name="proposal"),
]
