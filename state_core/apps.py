from importlib import import_module

from django.apps import AppConfig


class StateCoreConfig(AppConfig):
    name = "state_core"
    verbose_name = "State of sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("state_core.checks")  # registers them
