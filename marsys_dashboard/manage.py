"""`marsys-dashboard serve`, and every other command: what `manage.py` is in a checkout."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marsys_dashboard.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
