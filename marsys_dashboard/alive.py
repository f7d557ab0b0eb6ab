"""Whether the server answers: for pages that lost their line, and for whoever supervises it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe


@require_safe
async def alive(request: HttpRequest) -> HttpResponse:
    """Asks no database, and nobody has to be signed in: it says nothing of what is kept here."""
    response = HttpResponse(status=204)
    add_never_cache_headers(response)
    return response


urlpatterns = [path("alive/", alive, name="alive")]
