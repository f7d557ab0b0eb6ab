from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import pre_migrate


class StateCoreConfig(AppConfig):
    name = "state_core"
    verbose_name = "State of sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("state_core.checks")  # registers them
        pre_migrate.connect(_prepare_database, sender=self)


def _prepare_database(using: str, **signal: Any) -> None:
    import_module("state_core.storage.schema").let_shrink(using)
