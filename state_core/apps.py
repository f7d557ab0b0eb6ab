from django.apps import AppConfig


class StateCoreConfig(AppConfig):
    name = "state_core"
    verbose_name = "State of sessions"
    default_auto_field = "django.db.models.BigAutoField"
