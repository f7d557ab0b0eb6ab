"""The admin: changes that were proposed, as rows to read. They are decided in the dashboard."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from marsys_dashboard.models import Proposal
from state_core.admin import ReadOnlyAdmin


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    list_display = ("id", "store", "session_id", "proposer", "reason", "created_at", "decision", "decided_by")
    list_filter = ("decision", "created_at")
    search_fields = ("session_id", "=proposer", "=decided_by")
    search_help_text = "Part of a session's id, or a whole name of a person"
    ordering = ("-id",)
    actions = None
    fields = (
        "store", "session_id", "seq", "reason", "proposer", "created_at",
        "decision", "decided_by", "decided_at", "decision_reason",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Proposal]:
        return super().get_queryset(request).defer("change")
