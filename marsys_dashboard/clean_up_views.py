"""Cleaning up: which sessions, checkpoints and history are old or too much, and the job that lets them go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_http_methods

from marsys_dashboard import job_runner
from marsys_dashboard.clean_up import CLEAN_UP, limits, sessions_in
from marsys_dashboard.forms import LONGEST_REASON
from marsys_dashboard.job_views import go_to
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.models import Job
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require
from state_core.records import show_time, utc_now
from state_core.retention import CleanupReport

SHOWN = 50
"""Sessions of a plan that are named."""


def _days(label: str) -> forms.FloatField:
    return forms.FloatField(label=label, min_value=0.001, max_value=100_000, required=False)


class CleanUpForm(forms.Form):
    store = forms.ChoiceField(label="Store", required=False)
    session_age_days = _days("Sessions whose last event is older than")
    checkpoint_age_days = _days("Checkpoints made by themselves that are older than")
    history_age_days = _days("History of sessions whose last event is older than")
    max_mb = forms.FloatField(label="Sessions that ended longest ago, down to", min_value=0, required=False)
    at = forms.DateTimeField(required=False)
    confirmed = forms.IntegerField(required=False)
    confirm = forms.CharField(required=False, max_length=20)
    reason = forms.CharField(label="Reason", max_length=LONGEST_REASON, required=False)

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="act-%s")
        choices = [("", "Every store"), *((name, name) for name in store_names())]
        self.fields["store"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        if all(self.cleaned_data.get(name) is None for name in LIMITS):
            raise ValidationError("Give at least one limit; without any, everything is kept.")
        return self.cleaned_data

    def given(self, *, anew: bool) -> dict[str, Any]:
        """What the plan is made from. Confirmed, it is made for the moment for which it was shown: what ended
        since is not in it, so that a busy store does not ask for a confirmation again and again."""
        now = utc_now()
        shown = None if anew else self.cleaned_data["at"]
        given = {name: self.cleaned_data[name] for name in (*LIMITS, "store")}
        return {**given, "at": show_time(min(shown or now, now))}


LIMITS = ("session_age_days", "checkpoint_age_days", "history_age_days", "max_mb")


@dataclass(frozen=True)
class Plan:
    store: str
    report: CleanupReport

    @property
    def number(self) -> int:
        """Of sessions that it is about."""
        return len(sessions_in(self.report))


@require_http_methods(["GET", "HEAD", "POST"])
@require("view")
@require("restore")
async def clean_up(request: HttpRequest) -> HttpResponse:
    """GET asks for limits; POST shows what would go; POST with the number typed makes the job."""
    form = CleanUpForm(request.POST if request.method == "POST" else None)
    if not form.is_bound:
        return await _show(request, form, [])
    if not form.is_valid():
        return await _show(request, form, [], 400)
    anew = "plan" in request.POST or form.cleaned_data["confirmed"] is None
    given = form.given(anew=anew)
    plans = await _plans(given)
    total = sum(plan.number for plan in plans)
    if anew or not total:
        return await _show(request, form, plans, at=given["at"])
    problem = _problem(form, total)
    if problem:
        form.add_error(None, problem)
        return await _show(request, form, plans, 400, at=given["at"])
    return go_to(request, await _create(request, form, given, total))


def _problem(form: CleanUpForm, total: int) -> str:
    if not form.cleaned_data["reason"].strip():
        return "Reason: This field is required."
    if total != form.cleaned_data["confirmed"]:
        return f"The plan changed: it is about {total} now. Look at it, and confirm it again."
    if form.cleaned_data["confirm"].strip() != str(total):
        return f"Type {total} to confirm."
    return ""


async def _plans(given: Mapping[str, Any]) -> list[Plan]:
    stores = [given["store"]] if given["store"] else store_names()
    return [Plan(store, await manager(store).retention.plan(limits(given))) for store in stores]


async def _show(
    request: HttpRequest, form: CleanUpForm, plans: list[Plan], status: int = 200, at: str = ""
) -> HttpResponse:
    compactions = [(plan.store, each) for plan in plans for each in plan.report.compactions]
    context = {
        "section": "jobs",
        "form": form,
        "at": at,
        "is_planned": bool(plans),
        "total": sum(plan.number for plan in plans),
        "sessions": sum(len(plan.report.sessions) for plan in plans),
        "checkpoints": sum(plan.report.checkpoint_count for plan in plans),
        "losing": sum(len(plan.report.checkpoints) for plan in plans),
        "bytes": sum(plan.report.bytes for plan in plans),
        "compactions": len(compactions),
        "events": sum(each.events for _store, each in compactions),
        "bytes_compacted": sum(plan.report.bytes_compacted for plan in plans),
        "shown": [(plan.store, removal) for plan in plans for removal in plan.report.sessions][:SHOWN],
        "shown_compactions": sorted(compactions, key=lambda pair: -pair[1].bytes_saved)[:SHOWN],
        "left_over": [(plan.store, plan.report.bytes_over) for plan in plans if plan.report.bytes_over],
        "config": manager(store_names()[0]).config,
    }
    return await page(request, "jobs/clean_up.html", context, status=status)


async def _create(request: HttpRequest, form: CleanUpForm, given: dict[str, Any], total: int) -> Job:
    job = await Job.objects.acreate(
        verb=CLEAN_UP,
        actor=request.user.get_username(),
        reason=form.cleaned_data["reason"],
        given=given,
        confirmed=total,
        runner=job_runner.new_runner(),
    )
    job_runner.start(job.pk, job.runner)
    return job


urlpatterns = [path("jobs/clean-up/", clean_up, name="clean-up")]
