"""Sessions from one store to another."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.copying import CopyOutcome, SessionCopy, copy_sessions
from state_core.exceptions import StateError, StorageUnavailable
from state_core.management.bar import bar_on
from state_core.storage import StorageBackend, from_url, stores

_COMPARED = {CopyOutcome.COPIED, CopyOutcome.THERE}
STORE = "alias in STATE_STORES, or file:, sqlite:, postgresql: or redis: URL"


class Command(BaseCommand):
    help = (
        "Copy sessions from one store to another: events as they are, no key needed. Stopped in the "
        "middle and started again, it goes on. Everything that is copied is read back and compared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", metavar="FROM", help=STORE)
        parser.add_argument("target", metavar="TO", help=STORE)
        parser.add_argument("--session", action="append", metavar="ID", help="only this one; may be repeated")
        parser.add_argument("--dry-run", action="store_true", help="say what would be copied; copy nothing")
        parser.add_argument(
            "--include-running",
            action="store_true",
            help="also sessions that are being run, as far as they have come; copy them again afterwards",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            results = asyncio.run(self._copy(options))
        except StorageUnavailable as error:
            raise CommandError(f"{error} What was copied stays; start again to go on.") from error
        except StateError as error:
            raise CommandError(str(error)) from error
        for result in results:
            self._tell(result)
        self._sum_up(results)
        if any(result.outcome == CopyOutcome.FAILED for result in results):
            raise CommandError("Some sessions could not be copied; see above.")

    async def _copy(self, options: dict[str, Any]) -> Sequence[SessionCopy]:
        source, target = _store(options["source"]), _store(options["target"])
        _refuse(source, target)
        self.stdout.write(f"From {source!r}\n  to {target!r}")
        bar = bar_on(self.stderr)
        try:
            return await copy_sessions(
                source,
                target,
                options["session"],
                include_running=options["include_running"],
                dry_run=options["dry_run"],
                on_progress=bar.draw_walk if bar else None,
            )
        finally:
            if bar:
                bar.wipe()
            await source.close()
            await target.close()

    def _tell(self, result: SessionCopy) -> None:
        style = self.style.ERROR if result.outcome == CopyOutcome.FAILED else str
        why = f": {result.why}" if result.why else ""
        self.stdout.write(style(f"{result.session_id}  {result.outcome}{_events(result)}{why}"))

    def _sum_up(self, results: Sequence[SessionCopy]) -> None:
        counted = Counter(result.outcome for result in results)
        told = ", ".join(f"{counted[outcome]} {outcome}" for outcome in CopyOutcome if counted[outcome])
        self.stdout.write(f"Sessions: {told or 'none'}.")
        verified = [r for r in results if r.outcome in _COMPARED and not r.why]
        if verified:
            events = sum(result.events for result in verified)
            self.stdout.write(
                f"Verified: {_number(len(verified), 'session')} with {_number(events, 'event')}, "
                "their heads and their checkpoints are the same in both stores."
            )


def _store(name: str) -> StorageBackend:
    return from_url(name) if ":" in name and name not in stores else stores[name]


def _refuse(source: StorageBackend, target: StorageBackend) -> None:
    if not target.survives_restart:
        raise CommandError("What is copied to a store in memory is gone when this command ends.")
    if repr(source) == repr(target):
        raise CommandError(f"FROM and TO are the same store: {target!r}.")


def _events(result: SessionCopy) -> str:
    if result.outcome in {CopyOutcome.FAILED, CopyOutcome.SKIPPED}:
        return ""
    if 0 < result.written < result.events:
        return f", the last {result.written:,} of {_number(result.events, 'event')}"
    return f", {_number(result.events, 'event')}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
