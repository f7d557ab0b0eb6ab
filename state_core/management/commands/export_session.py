"""One session into one file."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.bundles import write_bundle
from state_core.exceptions import StateError
from state_core.managers import manager
from state_core.redaction import redacted


class Command(BaseCommand):
    help = (
        "Write a session into one file, to be looked at elsewhere: `import_session` reads it. What looks "
        "like a secret, by its name or its shape, is masked; look through it before you hand it on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("session_id", metavar="SESSION")
        parser.add_argument("file", type=Path, metavar="FILE", help="such as research.jsonl.gz")
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument("--unmasked", action="store_true", help="write secrets, too")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            written = asyncio.run(self._write(options))
        except StateError as error:
            options["file"].unlink(missing_ok=True)
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be written: {error.strerror}.") from error
        self.stdout.write(self.style.SUCCESS(f"{written:,} events are in {options['file']}."))

    async def _write(self, options: dict[str, Any]) -> int:
        state_manager = manager(options["store"])
        try:
            with options["file"].open("xb") as file:
                return await write_bundle(
                    state_manager,
                    options["session_id"],
                    file,
                    redact=None if options["unmasked"] else redacted,
                )
        finally:
            await state_manager.close()
