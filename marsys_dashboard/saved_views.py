"""Saved views of the list: own and shared, one of them a person's first page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.views.decorators.http import require_POST, require_safe

from marsys_dashboard.listing import read_address
from marsys_dashboard.models import DefaultView, SavedView
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require
from state_core.exceptions import StateError

MOST = 200
"""Views that a person may keep."""
LONGEST_QUERY = 4000


class ViewForm(forms.Form):
    name = forms.CharField(max_length=80)
    query = forms.CharField(max_length=LONGEST_QUERY, required=False)
    shared = forms.BooleanField(required=False)
    default = forms.BooleanField(required=False)

    def clean_query(self) -> str:
        return without_page(self.cleaned_data["query"])


def without_page(query: str) -> str:
    """Raises ValidationError for what no link of the list says."""
    asked = QueryDict(query.removeprefix("?"), mutable=True)
    asked.pop("after", None)
    try:
        read_address(asked)
    except StateError as error:
        raise ValidationError(str(error)) from error
    return asked.urlencode()


async def views_of(request: HttpRequest) -> dict[str, Any]:
    """What the list's menu of views needs."""
    return await sync_to_async(_views_of)(request)


def _views_of(request: HttpRequest) -> dict[str, Any]:
    found = visible(request.user)
    default = DefaultView.objects.filter(user=request.user).values_list("view_id", flat=True).first()
    here = QueryDict(request.META.get("QUERY_STRING", ""), mutable=True)
    here.pop("after", None)
    present = here.urlencode()
    return {
        "views": [{"view": view, "is_here": view.query == present} for view in found],
        "view_here": next((view.name for view in found if view.query == present), ""),
        "default_view": default,
        "query_here": present,
    }


def visible(user: Any) -> list[SavedView]:
    """One's own and those that others share, by name."""
    return list(SavedView.objects.filter(Q(user=user) | Q(shared=True)).select_related("user")[: 2 * MOST])


@require_safe
@require("view")
async def home(request: HttpRequest) -> HttpResponse:
    """A person's default view; the list where there is none. What is filtered stands in the address."""
    default = await DefaultView.objects.filter(user=request.user).select_related("view").afirst()
    query = default.view.query if default else ""
    return HttpResponseRedirect(reverse("sessions") + (f"?{query}" if query else ""))


@require_safe
@require("view")
async def views(request: HttpRequest) -> HttpResponse:
    found = await sync_to_async(_views_of)(request)
    return await page(request, "sessions/views.html", {"section": "sessions", **found})


@require_POST
@require("view")
async def save(request: HttpRequest) -> HttpResponse:
    """Under a name that one has already, the view of that name is replaced."""
    return await sync_to_async(_save)(request)


def _save(request: HttpRequest) -> HttpResponse:
    form = ViewForm(request.POST)
    if not form.is_valid():
        problem = next(iter(form.errors.values()))[0]
        messages.error(request, f"The view was not saved: {problem}")
        return _back(request.POST.get("query", ""))
    values = form.cleaned_data
    own = SavedView.objects.filter(user=request.user)
    if own.count() >= MOST and not own.filter(name=values["name"]).exists():
        messages.error(request, f"You keep {MOST} views already; delete one first.")
        return _back(values["query"])
    view, _ = SavedView.objects.update_or_create(
        user=request.user,
        name=values["name"],
        defaults={"query": values["query"], "shared": values["shared"]},
    )
    if values["default"]:
        DefaultView.objects.update_or_create(user=request.user, defaults={"view": view})
    messages.success(request, f"The view “{view.name}” is saved.")
    return _back(values["query"])


def _back(query: str) -> HttpResponse:
    try:
        checked = without_page(query)
    except ValidationError:
        checked = ""
    return HttpResponseRedirect(reverse("sessions") + (f"?{checked}" if checked else ""))


@require_POST
@require("view")
async def change(request: HttpRequest, view_id: int, what: str) -> HttpResponse:
    """Share, unshare and delete one's own; make any that one sees the first page."""
    if what not in CHANGES:
        raise Http404(f"A view cannot be told to {what[:40]!r}.")
    return await sync_to_async(_change)(request, view_id, what)


def _change(request: HttpRequest, view_id: int, what: str) -> HttpResponse:
    do, told, may_be_others = CHANGES[what]
    mine = Q(user=request.user)
    view = get_object_or_404(SavedView, mine | Q(shared=True) if may_be_others else mine, pk=view_id)
    do(request.user, view)
    messages.success(request, told.format(view.name))
    return HttpResponseRedirect(reverse("views"))


def _share(user: Any, view: SavedView, shared: bool = True) -> None:
    view.shared = shared
    view.save(update_fields=["shared"])
    if not shared:
        DefaultView.objects.filter(view=view).exclude(user=user).delete()


def _unshare(user: Any, view: SavedView) -> None:
    _share(user, view, shared=False)


def _make_default(user: Any, view: SavedView) -> None:
    DefaultView.objects.update_or_create(user=user, defaults={"view": view})


def _unmake_default(user: Any, view: SavedView) -> None:
    DefaultView.objects.filter(user=user, view=view).delete()


def _delete(user: Any, view: SavedView) -> None:
    view.delete()


CHANGES: Mapping[str, tuple[Callable[[Any, SavedView], None], str, bool]] = {
    "share": (_share, "“{}” is shared: everybody who may see sessions sees it.", False),
    "unshare": (_unshare, "“{}” is your own again.", False),
    "default": (_make_default, "“{}” is your first page now.", True),
    "no-default": (_unmake_default, "“{}” is your first page no more.", True),
    "delete": (_delete, "“{}” is deleted.", False),
}
"""What it does, what is told then, and whether it may be somebody else's view."""

urlpatterns = [
    path("sessions/views/", views, name="views"),
    path("sessions/views/save/", save, name="save-view"),
    path("sessions/views/<int:view_id>/<slug:what>/", change, name="change-view"),
]
