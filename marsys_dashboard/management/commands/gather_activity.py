"""The table of who did what, read from the logs to their end."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marsys_dashboard import activity
from marsys_dashboard.models import ActivityEntry


class Command(BaseCommand):
    help = (
        "Read from the logs of all stores who did what, to the end. The dashboard does so by itself, a part "
        "at each look; this does it at once, for instance after sessions were copied into a store."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--anew", action="store_true", help="drop first what was gathered, all but deletions"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        gathered = asyncio.run(self._gather(options["anew"]))
        self.stdout.write(f"{ActivityEntry.objects.count():,} acts are known.")
        if gathered.problems:
            told = "\n".join(f"{what}: {problem}" for what, problem in gathered.problems.items())
            raise CommandError(f"Not everything could be read:\n{told}")

    async def _gather(self, anew: bool) -> activity.Gathered:
        if anew:
            await activity.forget()
        while (gathered := await activity.gather()).behind:
            self.stdout.write(f"{await ActivityEntry.objects.acount():,} acts so far …")
        return gathered
