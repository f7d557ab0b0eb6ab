"""`marsys-dashboard serve`, and every other command: what `manage.py` is in a checkout."""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marsys_dashboard.settings")
    sys.path.append(str(Path.cwd()))  # for the settings and agents of whoever starts it
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
