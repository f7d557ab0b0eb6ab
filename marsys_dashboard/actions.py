"""The dialogs over HTTP. GET shows what will follow, POST has it done; both work without scripts."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from marsys_dashboard import answer_links, context_edit
from marsys_dashboard.acts import (
    ALL,
    DESTRUCTIVE,
    DO,
    Done,
    Given,
    at_hand,
    available,
    becomes,
    in_menu,
    permission_of,
    primary,
    title,
)
from marsys_dashboard.checkpoint_windows import offered
from marsys_dashboard.failures import sentence, status_of, wants_json
from marsys_dashboard.forms import ActForm, answer_fields, read_moment
from marsys_dashboard.managers import manager
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import permissions_of, require
from marsys_dashboard.proposing import propose, to_propose_again
from marsys_dashboard.subjects import Subject, subject_of
from state_core.exceptions import StateError
from state_core.managers import why_unreadable
from state_core.records import Head
from state_core.words import STATUSES, Action

FRAGMENT = "X-Fragment"
"""Header of a request that wants the dialog alone, without a page around it."""

__all__ = ["act", "available", "toolbar", "toolbar_context"]


@require_safe
@require("view")
async def toolbar(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """The buttons of a session, as they are for this person now."""
    head = await manager(store).get_head(session_id)
    unreadable = await why_unreadable(manager(store), session_id)
    context = toolbar_context(store, head, await permissions_of(request.user), unreadable)
    return await page(request, "sessions/_acts.html", context)


def toolbar_context(
    store: str, head: Head, permissions: frozenset[str], unreadable: str = ""
) -> dict[str, Any]:
    """What sessions/_acts.html needs."""
    acts = available(head, permissions, unreadable)
    return {
        "store": store,
        "session_id": head.session_id,
        "at_hand": at_hand(head, acts),
        "in_menu": in_menu(head, acts),
        "primary_act": primary(head, acts),
    }


@require_http_methods(["GET", "HEAD", "POST"])
@require("view")
async def act(request: HttpRequest, store: str, session_id: str, verb: str) -> HttpResponse:
    action = ALL.get(verb)
    if action is None:
        raise Http404(f"Nothing is called {verb!r} here.")
    return await require(permission_of(action))(_act)(request, store, session_id, action)


async def _act(request: HttpRequest, store: str, session_id: str, action: Action) -> HttpResponse:
    dialog = await _open(request, store, session_id, action)
    if request.method != "POST":
        return await dialog.show()
    if dialog.subject.refusal:
        return await dialog.refuse(409, dialog.subject.refusal)
    if not dialog.form.is_valid():
        return await dialog.refuse(400, dialog.form.first_error())
    try:
        done = await dialog.perform()
    except StateError as error:
        return await dialog.refuse(status_of(error) or 500, sentence(error))
    return await dialog.tell(done)


class Dialog:
    """One request about one act on one session."""

    def __init__(self, request: HttpRequest, subject: Subject) -> None:
        self.request = request
        self.subject = subject
        self.action = subject.action
        self.head = subject.head
        self.form = ActForm(
            subject.action,
            subject.head.session_id,
            subject.checkpoints,
            subject.questions,
            data=request.POST if request.method == "POST" else None,
            initial={
                "name": f"checkpoint-{subject.head.counts['checkpoints'] + 1}",
                "answer": request.GET.get("answer", ""),
            },
        )

    def given(self) -> Given:
        values = self.form.cleaned_data
        return Given(
            actor=self.request.user.get_username(),
            store=self.subject.store,
            **{name: values[name] for name in values if name != "confirm"},
        )

    async def perform(self) -> Done:
        """Raises StateError."""
        given = self.given()
        if self.action.takes_context and "ask" in self.request.POST:
            return await propose(self.subject.manager, self.head, given, self.request.user)
        return await DO[self.action.verb](self.subject.manager, self.head, given)

    @property
    def _url(self) -> str:
        return reverse("act", args=[self.subject.store, self.head.session_id, self.action.verb])

    def _asked(self, name: str) -> str:
        return str(self.request.POST.get(name) or self.request.GET.get(name) or "")

    async def show(self, status: int = 200, problem: str = "") -> HttpResponse:
        fragment = FRAGMENT in self.request.headers
        template = "sessions/_dialog.html" if fragment else "sessions/act.html"
        return await page(self.request, template, await self._context(problem), status=status)

    async def _context(self, problem: str) -> dict[str, Any]:
        subject = self.subject
        checkpoint = subject.checkpoint(self._asked("checkpoint"))
        question = subject.question(self._asked("question"))
        return {
            "section": "sessions",
            "store": subject.store,
            "head": self.head,
            "action": self.action,
            "url": self._url,
            "title": title(self.action, checkpoint, self._seq),
            "seq": self._seq,
            "told_at": subject.told_at,
            "now": STATUSES[self.head.status],
            "becomes": becomes(self.action, self.head),
            "consequences": await subject.consequences(checkpoint),
            "why_not": subject.availability(await permissions_of(self.request.user)).why_not,
            "destructive": self.action.verb in DESTRUCTIVE,
            "checkpoints": offered(subject.checkpoints, checkpoint.id if checkpoint else ""),
            "checkpoint": checkpoint,
            "questions": subject.questions,
            "question": question,
            **(answer_fields(question) if question else {}),
            "may_share": bool(answer_links.lasting()),
            "present": await self._present_context(),
            "review_edits": settings.REVIEW_EDITS,
            "form": self.form,
            "problem": problem,
        }

    @property
    def _seq(self) -> str:
        """The event to fork from, where no checkpoint is chosen."""
        asked = "" if self._asked("checkpoint") else self._asked("seq")
        return asked if self.action.verb == "fork" and asked.isdecimal() and len(asked) < 16 else ""

    async def _present_context(self) -> context_edit.Present | None:
        """What can be edited before the session is resumed."""
        if not self.action.takes_context or self.subject.unreadable:
            return None
        present = await context_edit.present(self.subject.manager, self.head.session_id)
        again = self._asked("again")
        if again.isdecimal() and len(again) < 16 and not present.note:
            await self._propose_again(int(again), present)
        return present

    async def _propose_again(self, number: int, present: context_edit.Present) -> None:
        """What was proposed once stands in the form, over the context as it is now."""
        store, session_id = self.subject.store, self.head.session_id
        proposal, change = await to_propose_again(number, store, session_id, self.request.user)
        edited = context_edit.as_json(change.over(present.context))
        self.form.initial |= {"edited": edited, "reason": proposal.reason}

    async def refuse(self, status: int, message: str) -> HttpResponse:
        """Nothing was done, and why. What was typed stays in the form."""
        if not wants_json(self.request):
            return await self.show(status, message)
        fields = {name: errors[0] for name, errors in self.form.errors.items()}
        return JsonResponse({"ok": False, "error": message, "fields": fields}, status=status)

    async def tell(self, done: Done) -> HttpResponse:
        if wants_json(self.request):
            return JsonResponse(await self._told(done))
        await sync_to_async(messages.success)(self.request, done.message)
        return HttpResponseRedirect(self._next(done))

    async def _told(self, done: Done) -> dict[str, Any]:
        told: dict[str, Any] = {"ok": True, "message": done.message, "logged": done.is_logged}
        if self.action.verb in {"fork", "delete"}:
            return {**told, "location": self._next(done)}
        head = await self.subject.manager.get_head(self.head.session_id)
        return {**told, "status": str(head.status), "seq": head.last_seq}

    def _next(self, done: Done) -> str:
        if self.action.verb == "delete":
            return reverse("sessions")
        return reverse("session", args=[self.subject.store, done.session_id or self.head.session_id])


async def _open(request: HttpRequest, store: str, session_id: str, action: Action) -> Dialog:
    subject = await subject_of(store, session_id, action.verb)
    sent = request.POST if request.method == "POST" else request.GET
    asked_at = read_moment(sent.get("asked_at", ""))
    await subject.refuse_unknown(sent.get("checkpoint", ""), sent.get("question", ""), asked_at)
    return Dialog(request, subject)
