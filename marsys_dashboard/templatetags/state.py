"""How times, durations, sizes and statuses look. The same formats as static/js/time.js."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from marsys_dashboard import logwords
from state_core import words
from state_core.records import Checkpoint, CheckpointKind
from state_core.words import DAY, HOUR, MINUTE, STATUSES, StatusWord

register = template.Library()
register.filter(words.size)

FILES = Path(__file__).resolve().parent.parent / "static"
THIN = "\u202f"
"""Parts the thousands of a number."""


@register.filter
def duration(seconds: float | None) -> str:
    """842 ms, 12.4 s, 3 m 07 s, 2 h 15 m, 3 d 4 h."""
    if seconds is None:
        return ""
    return words.duration(seconds)


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
    # Nothing of it has to be escaped, and a list has a hundred of them.
    return SafeString(
        f'<time datetime="{value.isoformat()}" data-{style} title="{exact(value)}">{shown}</time>'
    )


@register.simple_tag
def lasting(seconds: float | None, since: datetime | None = None) -> SafeString | str:
    """A duration; with ``since`` it goes on, and the browser counts it up."""
    if seconds is None:
        return ""
    ticking = f' data-since="{since.isoformat()}"' if since else ""
    return SafeString(f'<span class="num"{ticking}>{duration(seconds)}</span>')


@register.filter
def number(value: int | None) -> str:
    """12 431, with thin spaces."""
    return f"{value or 0:,}".replace(",", THIN)


@register.filter
def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str, extra: str = "") -> SafeString:
    """A picture of the sprite. It is decoration: say the same in words beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true"><use href="{}#{}"></use></svg>',
        extra,
        static("icons/sprite.svg"),
        name,
    )


OCCASIONS = {"auto": "automatic", "pre_restore": "kept before a restore"}


@register.filter
def made_by(checkpoint: Checkpoint) -> str:
    """Who saved it, or the occasion on which it was made by itself."""
    if checkpoint.kind == CheckpointKind.MANUAL:
        return checkpoint.actor
    return OCCASIONS.get(checkpoint.kind, f"on {checkpoint.kind}")


UNKNOWN = StatusWord("Unknown", "?", "pending", "This version does not know it.")


@register.simple_tag
def status(value: str, detail: str = "") -> SafeString:
    """Icon, word and colour of a status: of a session, a branch or a step."""
    return _status(str(value), detail)


@lru_cache(maxsize=256)
def _status(value: str, detail: str) -> SafeString:
    word = STATUSES.get(value, UNKNOWN)
    context = {"value": value, "word": word, "detail": detail}
    return render_to_string("partials/_status.html", context)


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
    return tuple(path.relative_to(FILES).as_posix() for path in sorted((FILES / place).glob("*.js")))
