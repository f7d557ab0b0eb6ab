from importlib import import_module

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "marsys_dashboard"
    verbose_name = "Dashboard"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("marsys_dashboard.checks")  # registers them
        import_module("marsys_dashboard.proposal_keys")  # receives a signal
