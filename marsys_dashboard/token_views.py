"""The page of one's access tokens: make one, see when they were used, revoke them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from marsys_dashboard import tokens
from marsys_dashboard.models import AccessToken
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require

LASTS = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until revoked"))
MAY = (("read", "Read only"), ("act", "Read and act"))


class TokenForm(forms.Form):
    name = forms.CharField(label="Name", max_length=80)
    may = forms.ChoiceField(label="May", choices=MAY, initial="read")
    lasts = forms.ChoiceField(label="Expires", choices=LASTS, initial="90", required=False)

    def __init__(self, user: Any, data: Any = None) -> None:
        super().__init__(data, auto_id="token-%s")
        self._of_user = AccessToken.objects.filter(user=user)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("Use characters that can be seen.")
        if self._of_user.filter(name=name).exists():
            raise ValidationError("You have a token of this name. Choose another, or revoke that one first.")
        return name

    def clean(self) -> dict[str, Any]:
        if self._of_user.count() >= tokens.MOST:
            raise ValidationError(f"You have {tokens.MOST} tokens already; revoke one first.")
        return self.cleaned_data


@require_http_methods(["GET", "HEAD", "POST"])
@require("view")
async def own_tokens(request: HttpRequest) -> HttpResponse:
    """GET lists them; POST makes one, and shows it this once."""
    return await page(request, "tokens/tokens.html", await sync_to_async(_context)(request))


def _context(request: HttpRequest) -> dict[str, Any]:
    form = TokenForm(request.user, request.POST if request.method == "POST" else None)
    made = _make(request.user, form.cleaned_data) if form.is_valid() else ""
    return {
        "section": "tokens",
        "form": TokenForm(request.user) if made else form,
        "made": made,
        "made_name": form.cleaned_data["name"] if made else "",
        "tokens": list(AccessToken.objects.filter(user=request.user)),
    }


def _make(user: Any, given: dict[str, Any]) -> str:
    lasts = timedelta(days=int(given["lasts"])) if given["lasts"] else None
    return tokens.make(
        user,
        given["name"],
        may_act=given["may"] == "act",
        expires_at=timezone.now() + lasts if lasts else None,
    )


@require_POST
@require("view")
async def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    return await sync_to_async(_revoke)(request, token_id)


def _revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(AccessToken, pk=token_id, user=request.user)
    token.delete()
    messages.success(request, f"The token “{token.name}” is revoked: who uses it is refused from now on.")
    return HttpResponseRedirect(reverse("tokens"))


urlpatterns = [
    path("access-tokens/", own_tokens, name="tokens"),
    path("access-tokens/<int:token_id>/revoke/", revoke, name="revoke-token"),
]
