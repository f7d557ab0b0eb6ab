"""Acts of the admin: a page that says what follows, then the StateManager, then a message for each row."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from state_core.exceptions import StateError
from state_core.manager import StateManager
from state_core.managers import why_unreadable
from state_core.records import SessionState
from state_core.words import STATUSES, Action, refusal

ALIAS = "default"
"""The store whose tables the admin shows."""
MOST_ROWS = 500
"""Rows of one act: they are done one after another while the browser waits."""
SHOWN_ROWS = 50
"""Rows that the page names one by one; more are counted."""

Given = Mapping[str, Any]

deleted = Signal()
"""Sent with ``store``, ``head``, ``actor`` and ``reason`` once a session is deleted: no log tells of that."""


@dataclass(frozen=True)
class Target:
    """A row that something is to be done to."""

    session_id: str
    status: str
    refuses: tuple[str, ...] = ()
    checkpoint_id: str = ""
    checkpoint_name: str = ""

    @property
    def label(self) -> str:
        return f"{self.session_id}, “{self.checkpoint_name}”" if self.checkpoint_id else self.session_id

    def why_not(self, action: Action) -> str:
        return action.why_not(self.status) or refusal(action.verb, self.status, self.refuses)

    @property
    def sentence(self) -> str:
        """How a message begins: Django makes its first letter a capital, which an id's must not become."""
        return f"Session {self.label}"


def target_view(action: Action, target: Target, manager: StateManager) -> dict[str, Any]:
    """What the page says of a row."""
    why_not = target.why_not(action)
    return {
        "label": target.label,
        "now": STATUSES[target.status],
        "becomes": action.becomes(target.status),
        "why_not": why_not,
        "preview": [] if why_not else _preview(target, manager),
    }


def _preview(target: Target, manager: StateManager) -> list[str]:
    """What restoring this checkpoint would do, or why that cannot be said."""
    if not target.checkpoint_id:
        return []
    try:
        preview = async_to_sync(_call)(manager.preview_restore(target.checkpoint_id))
    except StateError as error:
        return [str(error)]
    sentences: list[str] = preview.sentences()
    return sentences


class ActForm(forms.Form):
    """What a person adds to an act on so many rows."""

    name = forms.CharField(max_length=200, label="Name of the checkpoint", initial="checkpoint")
    reason = forms.CharField(max_length=500, label="Reason", help_text="Recorded with your name.")
    context = forms.JSONField(
        required=False,
        initial=dict,
        label="Additional context",
        help_text='A JSON object, such as {"review_complete": true}. It is merged into the context.',
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )

    confirm = forms.CharField(max_length=20)

    def __init__(self, action: Action, rows: int, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.rows = rows
        self.fields["reason"].required = action.reason_required
        self.fields["confirm"].label = f"Type {rows} to confirm"
        if action.verb != "delete":
            del self.fields["confirm"]
        if not action.takes_context or getattr(settings, "REVIEW_EDITS", False):
            del self.fields["context"]
        if action.verb != "checkpoint":
            del self.fields["name"]

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"].strip()
        if typed != str(self.rows):
            raise ValidationError(f"Type {self.rows}, the number of sessions, to confirm.")
        return typed

    def clean_context(self) -> dict[str, Any]:
        value = self.cleaned_data["context"]
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValidationError('This is no JSON object. Write it in braces: {"key": "value"}.')
        return value


def _pause(manager: StateManager, target: Target, given: Given, actor: str) -> Coroutine[Any, Any, Any]:
    return manager.pause_execution(target.session_id, reason=given["reason"], actor=actor)


def _resume(manager: StateManager, target: Target, given: Given, actor: str) -> Coroutine[Any, Any, Any]:
    context = given.get("context")
    return manager.resume_execution(target.session_id, context, reason=given["reason"], actor=actor)


def _checkpoint(manager: StateManager, target: Target, given: Given, actor: str) -> Coroutine[Any, Any, Any]:
    return manager.create_checkpoint(target.session_id, given["name"], reason=given["reason"], actor=actor)


def _restore(manager: StateManager, target: Target, given: Given, actor: str) -> Coroutine[Any, Any, Any]:
    return manager.restore_checkpoint(target.checkpoint_id, reason=given["reason"], actor=actor)


def _cancel(manager: StateManager, target: Target, given: Given, actor: str) -> Coroutine[Any, Any, Any]:
    return manager.cancel_execution(target.session_id, reason=given["reason"], actor=actor)


async def _delete(manager: StateManager, target: Target, given: Given, actor: str) -> None:
    head = await manager.get_head(target.session_id)
    await manager.delete_session(target.session_id)
    await deleted.asend(Target, store=ALIAS, head=head, actor=actor, reason=given["reason"])


CALLS: Mapping[str, Callable[[StateManager, Target, Given, str], Coroutine[Any, Any, Any]]] = {
    "pause": _pause,
    "resume": _resume,
    "checkpoint": _checkpoint,
    "restore": _restore,
    "cancel": _cancel,
    "delete": _delete,
}


def act(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    action: Action,
    targets: Sequence[Target],
    manager: StateManager,
) -> HttpResponse | None:
    """The page on the first request, the act on the second."""
    sent = "apply" in request.POST
    form = ActForm(action, len(targets), request.POST if sent else None)
    if not sent or not form.is_valid():
        return _page(model_admin, request, action, targets, form, manager)
    actor = request.user.get_username()
    for target in targets:
        told, level = _outcome(action, target, manager, form.cleaned_data, actor)
        messages.add_message(request, level, told)
    return None


def _outcome(
    action: Action, target: Target, manager: StateManager, given: Given, actor: str
) -> tuple[str, int]:
    why_not = target.why_not(action)
    if why_not:
        return f"{target.sentence}: {why_not}", messages.WARNING
    try:
        unreadable = async_to_sync(_unreadable)(action, target, manager)
        if unreadable:
            return f"{target.sentence}: {unreadable}", messages.WARNING
        state = async_to_sync(_call)(CALLS[action.verb](manager, target, given, actor))
    except StateError as error:
        return f"{target.sentence}: {error}", messages.ERROR
    return f"{target.sentence}: {_told(action, target, state, given)}", messages.SUCCESS


async def _unreadable(action: Action, target: Target, manager: StateManager) -> str:
    """What cannot be read can only be deleted."""
    return "" if action.verb == "delete" else await why_unreadable(manager, target.session_id)


async def _call(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


def _told(action: Action, target: Target, result: Any, given: Given) -> str:
    if isinstance(result, SessionState):
        return f"{STATUSES[target.status].label} → {STATUSES[result.status].label}"
    if action.verb == "delete":
        return "deleted"
    return f"checkpoint “{given['name']}” saved"


def _page(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    action: Action,
    targets: Sequence[Target],
    form: ActForm,
    manager: StateManager,
) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title_of(action, targets),
        "act": action,
        "targets": [target_view(action, target, manager) for target in targets[:SHOWN_ROWS]],
        "more": max(0, len(targets) - SHOWN_ROWS),
        "form": form,
        "opts": model_admin.model._meta,
        "media": model_admin.media + form.media,
        "action_name": request.POST["action"],
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
    }
    status = 400 if form.is_bound else 200
    return TemplateResponse(request, "admin/state_core/act.html", context, status=status)


def title_of(action: Action, targets: Sequence[Target]) -> str:
    """“Restore checkpoint “before-merge””, or “Delete sessions” where there are several."""
    if len(targets) == 1:
        return action.title.format(name=targets[0].checkpoint_name)
    return action.title.replace(" “{name}”", "") + "s"
