"""Django's system checks of the stores. Only those tagged ``database`` touch a store: run them with
``manage.py check --database default``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from state_core.exceptions import ConfigurationError, StateError
from state_core.storage import StorageBackend, stores


@register("state_core")
def stores_can_be_made(app_configs: Any = None, **options: Any) -> list[CheckMessage]:
    return list(_mistakes())


def _mistakes() -> Iterator[CheckMessage]:
    for alias in stores.aliases():
        try:
            stores[alias]
        except ConfigurationError as error:
            hint = f"Correct STATE_STORES[{alias!r}] in the settings."
            yield Error(str(error), hint=hint, id="state_core.E001")
    if not settings.USE_TZ:
        hint = "Set USE_TZ = True in the settings."
        yield Error(
            "Events carry times with a time zone, and USE_TZ is off.", hint=hint, id="state_core.E002"
        )


@register(Tags.database)
def stores_are_well(
    app_configs: Any = None, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    return [message for alias in stores.aliases() for message in _ask(alias)] if databases else []


def _ask(alias: str) -> list[CheckMessage]:
    try:
        sentences = async_to_sync(_check)(stores[alias])
    except ConfigurationError:
        return []  # E001 says so
    except StateError as error:
        hint = "Start it, or correct where it is looked for."
        return [Warning(f"Store {alias!r}: {error}", hint=hint, id="state_core.W002")]
    hint = "The store works; what it promises may not hold until this is changed."
    return [
        Warning(f"Store {alias!r}: {sentence}", hint=hint, id="state_core.W001") for sentence in sentences
    ]


async def _check(store: StorageBackend) -> list[str]:
    try:
        return await store.check()
    finally:
        await store.close()
