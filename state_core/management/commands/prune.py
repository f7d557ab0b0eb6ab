"""Sessions and checkpoints that are old or too much, away."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.config import StateManagerConfig
from state_core.exceptions import StateError, StorageUnavailable
from state_core.management.asking import agreed
from state_core.management.bar import bar_on
from state_core.manager import StateManager
from state_core.managers import manager
from state_core.retention import CleanupReport, SessionRemoval

SHOWN = 20
"""Sessions of a plan that are listed one by one."""
OPTIONS = {
    "session_age_days": "max_session_age_days",
    "checkpoint_age_days": "max_checkpoint_age_days",
    "history_age_days": "max_history_age_days",
    "max_mb": "max_storage_size_mb",
}
"""Option of the command → option of StateManagerConfig."""
DEFAULTS = StateManagerConfig()


class Command(BaseCommand):
    help = (
        "Delete sessions that ended long ago, old checkpoints that were made by themselves, and what is "
        "beyond a quota; compact old history; shows what would go and asks first. Without any limit: "
        f"sessions older than {DEFAULTS.max_session_age_days:g} days, checkpoints older than "
        f"{DEFAULTS.max_checkpoint_age_days:g} days. With some: those alone. Sessions that have not ended, "
        "named and pinned checkpoints are never touched."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument("--dry-run", action="store_true", help="show what would go; delete nothing")
        parser.add_argument(
            "--session-age-days", type=_positive, metavar="N", help="sessions whose last event is older"
        )
        parser.add_argument(
            "--checkpoint-age-days", type=_positive, metavar="N", help="checkpoints that are older"
        )
        parser.add_argument(
            "--history-age-days",
            type=_positive,
            metavar="N",
            help="compact sessions whose last event is older: what was before their oldest checkpoint, or "
            "before their end, becomes one event",
        )
        parser.add_argument(
            "--max-mb", type=_positive, metavar="N", help="sessions that ended longest ago, down to this size"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with asyncio.Runner() as runner:
                self._prune(runner, options)
        except StorageUnavailable as error:
            raise CommandError(f"{error} What was deleted is gone; start again to go on.") from error
        except StateError as error:
            raise CommandError(str(error)) from error

    def _prune(self, runner: asyncio.Runner, options: dict[str, Any]) -> None:
        state_manager = manager(options["store"], config=_config(options), actor="prune")
        try:
            plan = runner.run(state_manager.cleanup(dry_run=True))
            self._show(plan)
            if options["dry_run"] or plan.does_nothing:
                return
            if options["yes"] or agreed("Let it go for good?"):
                runner.run(self._carry_out(state_manager, plan))
            else:
                self.stdout.write("Nothing was changed.")
        finally:
            runner.run(state_manager.close())

    def _show(self, plan: CleanupReport) -> None:
        for removal in plan.sessions[:SHOWN]:
            self.stdout.write(_line(removal))
        if len(plan.sessions) > SHOWN:
            self.stdout.write(f"… and {len(plan.sessions) - SHOWN:,} more")
        why = Counter(removal.why for removal in plan.sessions)
        self.stdout.write(
            f"To delete: {_what(plan)} of the store's {_mb(plan.bytes_before)}. "
            f"Sessions by age: {why['age']:,}, by quota: {why['quota']:,}."
        )
        if plan.compactions:
            self.stdout.write(f"To compact: {_compacted(plan)} of history that nobody can go back to.")
        self._warn_if_over(plan)

    def _warn_if_over(self, report: CleanupReport) -> None:
        if report.bytes_over:
            self.stdout.write(
                self.style.WARNING(
                    f"That leaves the store {_mb(report.bytes_over)} over {_mb(report.max_bytes or 0)}: "
                    "the rest has not ended."
                )
            )

    async def _carry_out(self, state_manager: StateManager, plan: CleanupReport) -> None:
        bar = bar_on(self.stderr)
        progress = (lambda n, of: bar.draw(n / of, f"{n:,} of {of:,}")) if bar else None
        done = await state_manager.retention.carry_out(plan, progress)
        if bar:
            bar.wipe()
        self.stdout.write(self.style.SUCCESS(f"Deleted: {_what(done)}."))
        if plan.compactions:
            self.stdout.write(self.style.SUCCESS(f"Compacted: {_compacted(done)}."))
        if done.skipped:
            left = ", ".join(done.skipped[:SHOWN])
            self.stdout.write(f"Left as they are, since somebody has changed or taken them: {left}.")


def _config(options: dict[str, Any]) -> StateManagerConfig:
    given = {name: options[option] for option, name in OPTIONS.items()}
    if all(value is None for value in given.values()):
        return StateManagerConfig()
    return StateManagerConfig(**given)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number greater than 0.")
    return number


def _line(removal: SessionRemoval) -> str:
    ended = f"{removal.updated_at:%Y-%m-%d %H:%M}" if removal.updated_at else ""
    return f"{removal.session_id}  {removal.status}  {ended}  {_mb(removal.bytes)}  {removal.why}"


def _what(report: CleanupReport) -> str:
    sessions, checkpoints = len(report.sessions), report.checkpoint_count
    return (
        f"{sessions:,} session{'s' * (sessions != 1)} ({_mb(report.bytes)}) and "
        f"{checkpoints:,} checkpoint{'s' * (checkpoints != 1)} of others"
    )


def _compacted(report: CleanupReport) -> str:
    sessions = len(report.compactions)
    events = sum(compaction.events for compaction in report.compactions)
    about = "about " * report.dry_run
    return (
        f"{sessions:,} session{'s' * (sessions != 1)}, by {events:,} event{'s' * (events != 1)} and "
        f"{about}{_mb(report.bytes_compacted)}"
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
