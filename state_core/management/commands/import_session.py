"""A session out of the file that `export_session` wrote."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.bundles import read_bundle
from state_core.exceptions import StateError
from state_core.managers import manager


class Command(BaseCommand):
    help = "Read a session out of the file that `export_session` wrote, to look at it: it takes no commands."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument("--as", dest="session_id", metavar="ID", help="another id than it had")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            name = asyncio.run(self._read(options))
        except StateError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
        self.stdout.write(self.style.SUCCESS(f"Session {name} is there, to be looked at."))

    async def _read(self, options: dict[str, Any]) -> str:
        state_manager = manager(options["store"], actor="import")
        try:
            with options["file"].open("rb") as file:
                return await read_bundle(state_manager, file, session_id=options["session_id"])
        finally:
            await state_manager.close()
