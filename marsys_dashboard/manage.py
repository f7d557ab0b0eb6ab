"""`marsys-dashboard serve`, and every other command: what `manage.py` is in a checkout."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marsys_dashboard.settings")
    sys.path.append(
        os.getcwd()
    )  # settings and agents of who starts it, which an installed script does not see
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
