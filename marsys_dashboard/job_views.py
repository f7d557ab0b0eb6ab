"""Acts on many sessions: the dialog, the job that follows, its progress and its results."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST, require_safe

from marsys_dashboard import job_runner
from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.acts import ALL, DESTRUCTIVE, permission_of
from marsys_dashboard.clean_up import CLEAN_UP
from marsys_dashboard.failures import failure, wants_json
from marsys_dashboard.job_acts import BULK
from marsys_dashboard.job_forms import Chosen, JobForm, choose, title_of
from marsys_dashboard.models import Job, JobItem, JobStatus, Outcome
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import amay, lacks, permissions_of, require
from state_core.words import Action

SHOWN = 200
"""Results on one page."""
RECENT = 100
"""Jobs that the page of jobs lists."""


@require_POST
@require("view")
async def new(request: HttpRequest) -> HttpResponse:
    """The dialog, on the first request; the job, once it is confirmed."""
    verb = request.POST.get("verb", "")
    if verb not in BULK:
        raise Http404(f"Nothing that can be done to many sessions is called {verb[:40]!r}.")
    return await require(permission_of(ALL[verb]))(_new)(request, ALL[verb])


async def _new(request: HttpRequest, action: Action) -> HttpResponse:
    chosen = await choose(request.POST, action, await permissions_of(request.user))
    sent = "confirmed" in request.POST
    total = chosen.total
    if sent and chosen.query is not None:
        # What was confirmed is what the person was told; the job looks whether it still is so.
        total = _number(request.POST["confirmed"])
    form = JobForm(action, total, request.POST if sent else None)
    if not sent:
        return await _dialog(request, action, chosen, form)
    if not form.is_valid():
        return await _refuse(request, action, chosen, form)
    job = await _create(request, action, chosen, form)
    return go_to(request, job)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 12 else 0


async def _dialog(
    request: HttpRequest, action: Action, chosen: Chosen, form: JobForm, status: int = 200
) -> HttpResponse:
    template = "jobs/_dialog.html" if FRAGMENT in request.headers else "jobs/new.html"
    context = {
        "section": "sessions",
        "action": action,
        "chosen": chosen,
        "form": form,
        "total": form.total,
        "title": title_of(action),
        "destructive": action.verb in DESTRUCTIVE,
        "problem": form.first_error(),
    }
    return await page(request, template, context, status=status)


async def _refuse(request: HttpRequest, action: Action, chosen: Chosen, form: JobForm) -> HttpResponse:
    if not wants_json(request):
        return await _dialog(request, action, chosen, form, 400)
    fields = {name: errors[0] for name, errors in form.errors.items()}
    return JsonResponse({"ok": False, "error": form.first_error(), "fields": fields}, status=400)


async def _create(request: HttpRequest, action: Action, chosen: Chosen, form: JobForm) -> Job:
    by_filter = chosen.query is not None
    job = await Job.objects.acreate(
        verb=action.verb,
        actor=request.user.get_username(),
        reason=form.cleaned_data["reason"],
        given=form.given,
        query=chosen.query or "",
        confirmed=form.total,
        status=JobStatus.GATHERING if by_filter else JobStatus.RUNNING,
        runner=job_runner.new_runner(),
    )
    await JobItem.objects.abulk_create(
        [JobItem(job=job, store=store, session_id=session_id) for store, session_id in chosen.targets]
    )
    job_runner.start(job.pk, job.runner)
    return job


def go_to(request: HttpRequest, job: Job) -> HttpResponse:
    address = reverse("job", args=[job.pk])
    if wants_json(request):
        return JsonResponse({"ok": True, "message": f"Job {job.pk} has begun.", "location": address})
    return HttpResponseRedirect(address)


# Looking at jobs


@require_safe
@require("view")
async def jobs(request: HttpRequest) -> HttpResponse:
    """The newest, with how far each is."""
    found = [job async for job in Job.objects.order_by("-created_at", "-id")[:RECENT]]
    rows = [{"job": job, **await _progress(job)} for job in found]
    context = {
        "section": "jobs",
        "rows": rows,
        "at_work": any(job.is_at_work for job in found),
        "may": await permissions_of(request.user),
    }
    template = "jobs/_jobs.html" if FRAGMENT in request.headers else "jobs/jobs.html"
    return await page(request, template, context)


@require_safe
@require("view")
async def job(request: HttpRequest, job_id: int) -> HttpResponse:
    """Its progress, and the results: the failed first, then the skipped, the done, those that are left."""
    found = await _job(job_id)
    progress = await _progress(found)
    if wants_json(request):
        return JsonResponse(_as_json(found, progress))
    outcome = request.GET.get("outcome", "")
    after = _number(request.GET.get("after", ""))
    items = await _items(found, outcome if outcome in Outcome.values else "", after)
    context = {
        "section": "jobs",
        "job": found,
        **progress,
        "outcome": outcome,
        "outcomes": [(value, Outcome(value).label, progress["counts"][value]) for value in Outcome.values],
        "items": items[:SHOWN],
        "next": items[SHOWN - 1].pk if len(items) > SHOWN else 0,
        "may": await amay(request.user, permission_for(found)),
    }
    template = "jobs/_job.html" if FRAGMENT in request.headers else "jobs/job.html"
    return await page(request, template, context)


async def _items(found: Job, outcome: str, after: int) -> list[JobItem]:
    items = found.items.filter(pk__gt=after).order_by("pk")
    if outcome:
        items = items.filter(outcome=outcome)
    return [item async for item in items[: SHOWN + 1]]


async def _job(job_id: int) -> Job:
    found = await Job.objects.filter(pk=job_id).afirst()
    if found is None:
        raise Http404(f"There is no job {job_id}. It may have been removed.")
    return found


async def _progress(found: Job) -> dict[str, Any]:
    counts = await sync_to_async(found.counts)()
    total = sum(counts.values())
    return {
        "title": title(found),
        "counts": counts,
        "total": total,
        "ended": total - counts[Outcome.LEFT],
    }


def title(found: Job) -> str:
    return "Clean up" if found.verb == CLEAN_UP else title_of(ALL[found.verb])


def permission_for(found: Job) -> str:
    return "restore" if found.verb == CLEAN_UP else permission_of(ALL[found.verb])


def _as_json(found: Job, progress: dict[str, Any]) -> dict[str, Any]:
    return {
        "ok": True,
        "id": found.pk,
        "verb": found.verb,
        "actor": found.actor,
        "reason": found.reason,
        "status": "interrupted" if found.is_silent else found.status,
        "note": found.note,
        **{name: progress[name] for name in ("counts", "total", "ended")},
    }


# Stopping, and going on


@require_POST
@require("view")
async def stop(request: HttpRequest, job_id: int) -> HttpResponse:
    found = await _allowed(request, job_id)
    await job_runner.stop(found)
    return go_to(request, found)


@require_POST
@require("view")
async def go_on(request: HttpRequest, job_id: int) -> HttpResponse:
    found = await _allowed(request, job_id)
    if not found.can_go_on:
        told = f"The job is {found.label.lower()}; only one that stopped can be continued."
        return failure(request, 409, told)
    runner = await job_runner.go_on(found)
    if runner is None:
        return failure(request, 409, "Somebody else has just continued this job. Look at its page again.")
    job_runner.start(found.pk, runner)
    return go_to(request, found)


async def _allowed(request: HttpRequest, job_id: int) -> Job:
    found = await _job(job_id)
    permission = permission_for(found)
    if not await amay(request.user, permission):
        raise PermissionDenied(lacks(request.user, permission))
    return found


urlpatterns = [
    path("jobs/", jobs, name="jobs"),
    path("jobs/new/", new, name="new-job"),
    path("jobs/<int:job_id>/", job, name="job"),
    path("jobs/<int:job_id>/stop/", stop, name="stop-job"),
    path("jobs/<int:job_id>/continue/", go_on, name="continue-job"),
]
