"""How times, durations, sizes and statuses look. The same formats as static/js/time.js."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from marsys_dashboard import logwords
from state_core.words import STATUSES, StatusWord

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400
THIN = "\u202f"
"""Parts the thousands of a number."""


@register.filter
def duration(seconds: float | None) -> str:
    """842 ms, 12.4 s, 3 m 07 s, 2 h 15 m, 3 d 4 h."""
    if seconds is None:
        return ""
    seconds = max(0.0, float(seconds))
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return _long(round(seconds))


def _long(whole: int) -> str:
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} m"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


register.filter("kind_title", logwords.title)


@register.filter
def relative(moment: datetime | None) -> str:
    """3 min ago."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < 10:
        return "just now"
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


@register.filter
def exact(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


@register.simple_tag
def moment(value: datetime | None, style: str = "relative") -> SafeString | str:
    """``relative``: "3 min ago", exact on hover. ``clock``: the time of day, exact on hover."""
    if value is None:
        return ""
    shown = relative(value) if style == "relative" else value.astimezone(UTC).strftime("%H:%M:%S")
    return format_html(
        '<time datetime="{}" data-{} title="{}">{}</time>', value.isoformat(), style, exact(value), shown
    )


@register.simple_tag
def lasting(seconds: float | None, since: datetime | None = None) -> SafeString | str:
    """A duration; with ``since`` it goes on, and the browser counts it up."""
    if seconds is None:
        return ""
    if since is None:
        return format_html('<span class="num">{}</span>', duration(seconds))
    return format_html('<span class="num" data-since="{}">{}</span>', since.isoformat(), duration(seconds))


@register.filter
def size(count: int | None) -> str:
    """Bytes: 842 B, 12.4 kB, 1.8 MB."""
    value = float(count or 0)
    if value < 1000:
        return f"{int(value)} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


@register.filter
def number(value: int | None) -> str:
    """12 431, with thin spaces."""
    return f"{value or 0:,}".replace(",", THIN)


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A picture of the sprite. It is decoration: say the same in words beside it."""
    from django.templatetags.static import static

    return format_html(
        '<svg class="icon {}" aria-hidden="true"><use href="{}#{}"></use></svg>',
        extra,
        static("icons/sprite.svg"),
        name,
    )


UNKNOWN = StatusWord("Unknown", "?", "pending", "This version does not know it.")


@register.inclusion_tag("partials/_status.html")
def status(value: str, detail: str = "") -> dict[str, Any]:
    """Icon, word and colour of a status: of a session, a branch or a step."""
    word = STATUSES.get(str(value), UNKNOWN)
    return {"value": str(value), "word": word, "detail": detail}


@register.simple_tag
def colour_of(status: str) -> str:
    return STATUSES.get(str(status), UNKNOWN).colour


@register.simple_tag
def module_preloads(*places: str) -> SafeString:
    """Links that let the browser fetch scripts, or a folder of them, before another script names them."""
    links = ((static(name),) for place in places for name in _scripts(place))
    return format_html_join("\n", '<link rel="modulepreload" href="{}">', links)


@cache
def _scripts(place: str) -> tuple[str, ...]:
    if place.endswith(".js"):
        return (place,)
    root = settings.STATICFILES_DIRS[0]
    return tuple(path.relative_to(root).as_posix() for path in sorted((root / place).glob("*.js")))
