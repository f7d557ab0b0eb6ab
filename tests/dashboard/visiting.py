"""Asking for pages over HTTP, of a dashboard that shows a store of the test's own."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import AsyncClient

from marsys_dashboard import actions, charts, compare, session_views, subjects, travel
from marsys_dashboard.feed import Feed
from marsys_dashboard.past import PastOutlines
from state_core.manager import StateManager


def serve(manager: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard shows this manager's store."""
    monkeypatch.setattr(travel, "feed", Feed(lambda _store: manager))
    monkeypatch.setattr(travel, "past", PastOutlines())
    for module in (session_views, charts, actions, compare, subjects, travel):
        monkeypatch.setattr(module, "manager", lambda _store: manager)


async def signed_in(*verbs: str) -> AsyncClient:
    user = await User.objects.acreate_user("-".join(verbs) or "nobody")
    codenames = [f"{verb}_session" for verb in verbs]
    granted = Permission.objects.filter(content_type__app_label="state_core", codename__in=codenames)
    await user.user_permissions.aset([permission async for permission in granted])
    client = AsyncClient()
    await client.aforce_login(user)
    return client


async def text(client: AsyncClient, address: str, **query: Any) -> str:
    response = await client.get(address, query)
    assert response.status_code == 200, response.content
    return body(response)


def body(response: HttpResponse) -> str:
    return b"".join(response).decode()
