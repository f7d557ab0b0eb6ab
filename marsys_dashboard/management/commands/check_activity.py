"""Whether a sealed file of activity is as it was written."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marsys_dashboard.sealed import BrokenSeal, check


class Command(BaseCommand):
    help = (
        "Tell whether a file of activity (JSON lines, sealed) is as the dashboard wrote it. It needs the "
        "SECRET_KEY, or one of SECRET_KEY_FALLBACKS, that the dashboard had then."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="such as activity.sealed.jsonl")

    def handle(self, *args: Any, **options: Any) -> None:
        path = options["file"]
        try:
            with path.open(encoding="utf-8") as lines:
                count = check(lines)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except (BrokenSeal, UnicodeDecodeError) as error:
            raise CommandError(f"{path} is not as it was written. {error}") from error
        self.stdout.write(self.style.SUCCESS(f"All {count:,} entries are as they were written."))
