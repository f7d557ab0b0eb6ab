"""The admin: sessions, checkpoints and events as rows to read; acts go through the StateManager."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from state_core import managers, words
from state_core.admin_actions import ALIAS, MOST_ROWS, Target, act
from state_core.events import EventKind
from state_core.exceptions import StateError
from state_core.manager import StateManager
from state_core.models import Checkpoint, Event, Session
from state_core.words import ACTIONS, OPERATE, RESTORE, STATUSES, VIEW, Action

SHOWN_CHARACTERS = 20_000
"""Of a body; the dashboard shows all of it."""


def manager() -> StateManager:
    return managers.manager(ALIAS, actor="admin")


def status_badge(status: str) -> str:
    return render_to_string("admin/state_core/status.html", {"word": STATUSES[status]})


def moment(value: datetime | None) -> str:
    """To the second, in UTC."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else ""


def dashboard_link(session_id: str, label: str = "Open") -> str:
    """Empty where the dashboard is not part of this project."""
    try:
        return format_html('<a href="{}">{}</a>', reverse("session", args=[ALIAS, session_id]), label)
    except NoReverseMatch:
        return ""


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that nobody edits: history is written by the library alone."""

    show_full_result_count = False
    list_per_page = 50

    class Media:
        css = {"all": ["state_core/admin.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW)

    def targets(self, rows: Iterable[Any]) -> list[Target]:
        """What acts on these rows are done to."""
        return []

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """With the acts of the list, each with the reason why it cannot be done, or ""."""
        row = context["original"]
        context["state_acts"] = [
            {"action": ACTIONS[verb], "why_not": target.why_not(ACTIONS[verb])}
            for target in self.targets([row])
            for verb in self.get_actions(request)
        ]
        context["state_list"] = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return super().render_change_form(request, context, *args, **options)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(OPERATE)

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RESTORE)


class OpenQuestions(admin.SimpleListFilter):
    title = "open questions"
    parameter_name = "asks"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "A person is asked"), ("0", "Nobody is asked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        conditions = {"1": {"questions__gt": 0}, "0": {"questions": 0}}
        return queryset.filter(**conditions.get(self.value() or "", {}))


class OfKind(admin.SimpleListFilter):
    """The kinds that there are, not those that a scan of all events would find."""

    title = "kind"
    parameter_name = "of_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(kind), str(kind)) for kind in EventKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


def session_act(verb: str) -> Callable[..., HttpResponse | None]:
    """An admin action of the same name, words and permission as the dashboard's."""
    action: Action = ACTIONS[verb]

    @admin.action(description=action.label, permissions=[action.permission.split(".")[1].split("_")[0]])
    def perform(
        model_admin: SessionAdmin, request: HttpRequest, queryset: QuerySet[Session]
    ) -> HttpResponse | None:
        if too_many(request, queryset):
            return None
        return act(model_admin, request, action, model_admin.targets(queryset), manager())

    perform.__name__ = verb
    return perform


def too_many(request: HttpRequest, queryset: QuerySet[Any]) -> bool:
    """Says so where it is."""
    number = queryset.count()
    if number > MOST_ROWS:
        told = f"{number:,} rows are too many at once; choose {MOST_ROWS} at most. Nothing was done."
        messages.error(request, f"{told} The dashboard's list acts on all that match its filter, as a job.")
    return number > MOST_ROWS


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = (
        "session_id", "state", "title", "progress", "checkpoints", "size", "updated", "held_by", "dashboard",
    )  # fmt: skip
    list_filter = (
        ("status", admin.ChoicesFieldListFilter),
        OpenQuestions,
        "updated_at",
        "created_at",
    )
    search_fields = ("search",)
    search_help_text = "Part of an id, a title or a workflow's name"
    ordering = ("-updated_minute", "-updated_at")
    actions = [session_act(verb) for verb in ("pause", "resume", "checkpoint", "cancel", "delete")]
    fieldsets = (
        (None, {"fields": ("session_id", "state", "title", "workflow", "tags", "dashboard")}),
        ("Times", {"fields": ("created_at", "started_at", "ended_at", "updated_at")}),
        ("What happened", {"fields": ("first_seq", "last_seq", "last_kind", "reason", "error", "origin")}),
        ("Agents", {"fields": ("agents", "worked")}),
        ("Counts", {"fields": ("branches", "progress", "messages", "questions", "checkpoints", "size")}),
        ("Lease", {"fields": ("held_by", "fence", "lease_expires_at")}),
    )

    def targets(self, rows: Iterable[Session]) -> list[Target]:
        return [Target(row.session_id, row.status, tuple(row.refuses)) for row in rows]

    @admin.display(description="Status", ordering="status")
    def state(self, row: Session) -> str:
        return status_badge(row.status)

    @admin.display(description="Steps", ordering="steps")
    def progress(self, row: Session) -> str:
        failed = f", {row.steps_failed} failed" if row.steps_failed else ""
        return f"{row.steps_completed} of {row.steps}{failed}"

    @admin.display(description="Size", ordering="state_bytes")
    def size(self, row: Session) -> str:
        return words.size(row.state_bytes)

    @admin.display(description="Updated (UTC)", ordering="updated_at")
    def updated(self, row: Session) -> str:
        return moment(row.updated_at)

    @admin.display(description="Held by", ordering="owner")
    def held_by(self, row: Session) -> str:
        return row.owner or "nobody"

    @admin.display(description="Dashboard")
    def dashboard(self, row: Session) -> str:
        return dashboard_link(row.session_id)


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "of_session", "kind", "seq", "size", "actor", "created", "pinned")
    list_filter = ("kind", "pinned", "created_at")
    search_fields = ("name", "session__search")
    search_help_text = "Part of a checkpoint's name, or of its session's id or title"
    ordering = ("-created_at",)
    list_select_related = ("session",)
    actions = ["restore"]
    fields = (
        "name", "of_session", "kind", "seq", "size", "counts", "actor", "reason", "created_at", "pinned",
    )  # fmt: skip

    def targets(self, rows: Iterable[Checkpoint]) -> list[Target]:
        return [
            Target(row.session.session_id, row.session.status, tuple(row.session.refuses), row.id, row.name)
            for row in rows
        ]

    @admin.action(description=ACTIONS["restore"].label, permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Checkpoint]) -> HttpResponse | None:
        if too_many(request, queryset):
            return None
        targets = self.targets(queryset.select_related("session"))
        if len({target.session_id for target in targets}) < len(targets):
            messages.error(request, "Choose one checkpoint for each session: it can only go back to one.")
            return None
        return act(self, request, ACTIONS["restore"], targets, manager())

    @admin.display(description="Session", ordering="session__session_id")
    def of_session(self, row: Checkpoint) -> str:
        return dashboard_link(row.session.session_id, row.session.session_id) or row.session.session_id

    @admin.display(description="Created (UTC)", ordering="created_at")
    def created(self, row: Checkpoint) -> str:
        return moment(row.created_at)

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, row: Checkpoint) -> str:
        return words.size(row.size_bytes)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("seq", "of_session", "kind", "when", "actor", "branch_id", "agent", "state", "lasted")
    list_filter = ("at", OfKind)
    search_fields = ("session__session_id", "=kind", "=actor", "=branch_id")
    search_help_text = "Part of a session's id, or a whole kind, actor or branch"
    ordering = ("-id",)
    list_select_related = ("session",)
    actions = None
    fields = (
        "seq", "of_session", "kind", "at", "actor", "branch_id", "step_id", "agent", "state", "lasted",
        "size", "data", "encoding", "content",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return super().get_queryset(request).defer("body")

    @admin.display(description="Session", ordering="session__session_id")
    def of_session(self, row: Event) -> str:
        return dashboard_link(row.session.session_id, row.session.session_id) or row.session.session_id

    @admin.display(description="At (UTC)", ordering="at")
    def when(self, row: Event) -> str:
        return moment(row.at)

    @admin.display(description="Status")
    def state(self, row: Event) -> str:
        return status_badge(row.status) if row.status in STATUSES else ""

    @admin.display(description="Duration", ordering="duration")
    def lasted(self, row: Event) -> str:
        return "" if row.duration is None else words.duration(row.duration)

    @admin.display(description="Content")
    def content(self, row: Event) -> str:
        """What the event changed, as text; or why it cannot be read."""
        read = async_to_sync(manager().log.read)
        try:
            events = read(row.session.session_id, after=row.seq - 1, limit=1)
        except StateError as error:
            return str(error)
        text = json.dumps(events[0].changes, indent=1, ensure_ascii=False)
        left = len(text) - SHOWN_CHARACTERS
        more = f"\n… {left} more characters" if left > 0 else ""
        return format_html('<pre class="state-body">{}{}</pre>', text[:SHOWN_CHARACTERS], more)
