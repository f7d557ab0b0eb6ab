"""Django's system check of where the dashboard is installed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

OWN = ("ANSWER_LINK_AGE", "REVIEW_EDITS", "SIGN_IN_LINK_AGE", "STATE_STORES")
"""Settings that the dashboard reads, and that no other project has."""


@register("marsys_dashboard")
def runs_with_its_own_settings(app_configs: Any = None, **options: Any) -> list[CheckMessage]:
    missing = [name for name in OWN if not hasattr(settings, name)]
    if not missing:
        return []
    told = f"The dashboard is a project of its own, and these settings have no {', '.join(missing)}."
    hint = (
        "Install state_core alone here, and serve the dashboard beside it, by a settings module that begins "
        "with 'from marsys_dashboard.settings import *' and takes DATABASES and SECRET_KEY from here."
    )
    return [Error(told, hint=hint, id="marsys_dashboard.E001")]
