from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "marsys_dashboard"
    verbose_name = "Dashboard"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marsys_dashboard import proposal_keys  # noqa: F401, PLC0415 - receives a signal
