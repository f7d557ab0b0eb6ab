"""Jinja, which compiles templates, for what is rendered by the hundred: the same in a fifth of the time."""

from __future__ import annotations

from typing import Any

from django.template.defaultfilters import urlencode
from jinja2 import Environment, StrictUndefined

from marsys_dashboard.templatetags import state


def environment(**options: Any) -> Environment:
    """With the words of `templatetags/state.py`. Of a misspelt name it raises UndefinedError."""
    made = Environment(**{**options, "undefined": StrictUndefined, "keep_trailing_newline": True})  # noqa: S701
    made.globals.update(icon=state.icon, status=state.status, moment=state.moment, lasting=state.lasting)
    made.filters.update(number=state.number, shortened=state.shortened, urlencode=urlencode)
    return made
