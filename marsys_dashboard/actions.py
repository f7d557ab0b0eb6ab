"""The dialogs over HTTP. GET shows what will follow, POST has it done; both work without scripts."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from marsys_dashboard import context_edit
from marsys_dashboard.acts import (
    ALL,
    DESTRUCTIVE,
    DO,
    GOING_BACK,
    Done,
    Given,
    at_hand,
    available,
    becomes,
    checkpoints_for,
    consequences,
    in_menu,
    permission_of,
    primary,
    questions_for,
    title,
)
from marsys_dashboard.checkpoint_windows import offered
from marsys_dashboard.failures import sentence, status_of, wants_json
from marsys_dashboard.forms import ActForm, answer_fields
from marsys_dashboard.managers import manager
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import permissions_of, require
from marsys_dashboard.travel import outline_at
from state_core.control import open_question
from state_core.exceptions import CheckpointNotFound, StateError
from state_core.manager import StateManager
from state_core.managers import why_unreadable
from state_core.preview import RestorePreview, preview_of
from state_core.records import Checkpoint, Head, Question
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
    if dialog.unreadable and action.verb != "delete":
        return await dialog.refuse(409, dialog.unreadable)
    if not dialog.form.is_valid():
        return await dialog.refuse(400, dialog.form.first_error())
    try:
        done = await DO[action.verb](dialog.manager, dialog.head, dialog.given())
    except StateError as error:
        return await dialog.refuse(status_of(error) or 500, sentence(error))
    return await dialog.tell(done)


class Dialog:
    """One request about one act on one session."""

    def __init__(
        self,
        request: HttpRequest,
        store: str,
        action: Action,
        head: Head,
        checkpoints: list[Checkpoint],
        questions: list[Question],
        unreadable: str,
    ) -> None:
        self.request = request
        self.store = store
        self.action = action
        self.head = head
        self.manager: StateManager = manager(store)
        self.checkpoints = checkpoints
        self.questions = questions
        self.unreadable = unreadable
        """Why nothing can be done to it here but to delete it, or ""."""
        self.form = ActForm(
            action,
            head.session_id,
            checkpoints,
            questions,
            data=request.POST if request.method == "POST" else None,
            initial={"name": f"checkpoint-{head.counts['checkpoints'] + 1}"},
        )

    def given(self) -> Given:
        values = self.form.cleaned_data
        return Given(
            actor=self.request.user.get_username(),
            store=self.store,
            **{name: values[name] for name in values if name != "confirm"},
        )

    @property
    def _url(self) -> str:
        return reverse("act", args=[self.store, self.head.session_id, self.action.verb])

    @property
    def _chosen_checkpoint(self) -> Checkpoint | None:
        chosen = self._asked("checkpoint")
        if chosen:
            return next((place for place in self.checkpoints if place.id == chosen), None)
        return self.checkpoints[0] if self.checkpoints and self.action.verb in GOING_BACK else None

    @property
    def _chosen_question(self) -> Question | None:
        chosen = self._asked("question")
        return next((q for q in self.questions if q.question_id == chosen), next(iter(self.questions), None))

    def _asked(self, name: str) -> str:
        return str(self.request.POST.get(name) or self.request.GET.get(name) or "")

    async def show(self, status: int = 200, problem: str = "") -> HttpResponse:
        fragment = FRAGMENT in self.request.headers
        template = "sessions/_dialog.html" if fragment else "sessions/act.html"
        return await page(self.request, template, await self._context(problem), status=status)

    async def _context(self, problem: str) -> dict[str, Any]:
        checkpoint, question = self._chosen_checkpoint, self._chosen_question
        acts = available(self.head, await permissions_of(self.request.user), self.unreadable)
        return {
            "section": "sessions",
            "store": self.store,
            "head": self.head,
            "action": self.action,
            "url": self._url,
            "title": title(self.action, checkpoint, self._seq),
            "seq": self._seq,
            "now": STATUSES[self.head.status],
            "becomes": becomes(self.action, self.head),
            "consequences": consequences(self.action, await self._preview(checkpoint)),
            "why_not": acts[self.action.verb].why_not,
            "destructive": self.action.verb in DESTRUCTIVE,
            "checkpoints": offered(self.checkpoints, checkpoint.id if checkpoint else ""),
            "checkpoint": checkpoint,
            "questions": self.questions,
            "question": question,
            **(answer_fields(question) if question else {}),
            "present": await self._present_context(),
            "form": self.form,
            "problem": problem,
        }

    @property
    def _seq(self) -> str:
        """The event to fork from, where no checkpoint is chosen."""
        asked = "" if self._asked("checkpoint") else self._asked("seq")
        return asked if self.action.verb == "fork" and asked.isdecimal() and len(asked) < 16 else ""

    async def _preview(self, checkpoint: Checkpoint | None) -> RestorePreview | None:
        """What going back would do; of a session that cannot be read, nothing is said."""
        if self.action.verb not in GOING_BACK or checkpoint is None or self.unreadable:
            return None
        present, target = [
            await outline_at(self.store, self.manager, self.head, at) for at in (None, checkpoint.seq)
        ]
        return preview_of(present.document, target.document, checkpoint, self.head.counts["messages"])

    async def _present_context(self) -> context_edit.Present | None:
        """What can be edited before the session is resumed."""
        if not self.action.takes_context or self.unreadable:
            return None
        return await context_edit.present(self.manager, self.head.session_id)

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
        told: dict[str, Any] = {"ok": True, "message": done.message}
        if self.action.verb in {"fork", "delete"}:
            return {**told, "location": self._next(done)}
        head = await self.manager.get_head(self.head.session_id)
        return {**told, "status": str(head.status), "seq": head.last_seq}

    def _next(self, done: Done) -> str:
        if self.action.verb == "delete":
            return reverse("sessions")
        return reverse("session", args=[self.store, done.session_id or self.head.session_id])


async def _open(request: HttpRequest, store: str, session_id: str, action: Action) -> Dialog:
    of_store = manager(store)
    head = await of_store.get_head(session_id)
    checkpoints = await checkpoints_for(action, of_store, session_id)
    unreadable = await why_unreadable(of_store, session_id)
    questions = [] if unreadable else await questions_for(action, of_store, session_id)
    dialog = Dialog(request, store, action, head, checkpoints, questions, unreadable)
    await _refuse_unknown(dialog, request, session_id)
    return dialog


async def _refuse_unknown(dialog: Dialog, request: HttpRequest, session_id: str) -> None:
    """A checkpoint or question that was named must be one of this session's, the question an open one."""
    sent = request.POST if request.method == "POST" else request.GET
    checkpoint, question = sent.get("checkpoint"), sent.get("question")
    fields = dialog.form.fields
    if checkpoint and "checkpoint" in fields and checkpoint not in dialog.form.checkpoints:
        raise CheckpointNotFound(checkpoint[:128], session_id)
    if question and "question" in fields and question not in dialog.form.questions:
        document = await dialog.manager.log.document(session_id)
        open_question(document, question[:128])
