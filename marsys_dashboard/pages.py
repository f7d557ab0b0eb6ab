"""Answers of asynchronous views: pages and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers


@sync_to_async
def page(
    request: HttpRequest, template: str, context: Mapping[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """In a thread, since templates ask for the user and their messages. Never cached: it is live."""
    response = render(request, template, dict(context or {}), status=status)
    add_never_cache_headers(response)
    return response


def json_file(value: Any, name: str) -> HttpResponse:
    """To be downloaded. Never cached: it may be anything that agents wrote."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    response = HttpResponse(body, content_type="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{name.replace(":", "_")}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response
