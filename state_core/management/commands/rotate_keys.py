"""Everything that a store holds, under the key that encrypts at present."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.exceptions import StateError, StorageUnavailable
from state_core.management.asking import agreed
from state_core.management.bar import bar_on
from state_core.management.rotating import rotating
from state_core.manager import StateManager
from state_core.managers import manager
from state_core.rotation import RotationReport, Unreadable

SHOWN = 20
"""Sessions of which something could not be read that are listed one by one."""


class Command(BaseCommand):
    help = (
        "Re-encrypt what is not under the first key of a store's ENCRYPTION_KEY: events and snapshots that "
        "are under another key, or under none. Before, give the new key first and the old ones behind it, "
        "here and in every program, and restart those. Programs may run and append meanwhile. Stopped in "
        "the middle and started again, it goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "store", metavar="STORE", nargs="?", default="default", help="alias in STATE_STORES (default)"
        )
        parser.add_argument("--session", action="append", metavar="ID", help="only this one; may be repeated")
        parser.add_argument("--decrypt", action="store_true", help="store everything without encryption")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with asyncio.Runner() as runner:
                report = self._rotate(runner, options)
        except StorageUnavailable as error:
            raise CommandError(f"{error} What was done stays; start again to go on.") from error
        except StateError as error:
            raise CommandError(str(error)) from error
        if report and report.unreadable:
            raise CommandError(_advice(report))

    def _rotate(self, runner: asyncio.Runner, options: dict[str, Any]) -> RotationReport | None:
        state_manager = manager(options["store"], actor="rotate_keys")
        try:
            plan = runner.run(self._run(state_manager, options, dry_run=True))
            self._show_plan(plan)
            if options["dry_run"] or plan.does_nothing:
                self._show_left(plan)
                return plan
            if not options["yes"] and not agreed(_question(plan)):
                self.stdout.write("Nothing was changed.")
                return None
            done = runner.run(self._run(state_manager, options, dry_run=False))
            self._show(done)
            return done
        finally:
            runner.run(state_manager.close())

    async def _run(
        self, state_manager: StateManager, options: dict[str, Any], *, dry_run: bool
    ) -> RotationReport:
        bar = None if dry_run else bar_on(self.stderr)
        try:
            report = await state_manager.rotate_keys(
                options["session"],
                decrypt=options["decrypt"],
                dry_run=dry_run,
                on_progress=bar.draw_walk if bar else None,
            )
        finally:
            if bar:
                bar.wipe()
        await rotating.asend(
            Command,
            store=options["store"],
            codec=state_manager.log.codec,
            session_ids=options["session"],
            decrypt=options["decrypt"],
            report=report,
        )
        return report

    def _show_plan(self, plan: RotationReport) -> None:
        for key_id, count in plan.in_use.most_common():
            self.stdout.write(f"{_under(key_id)}: {count:,}")
        if plan.does_nothing:
            can = " that can be read" if plan.unreadable else ""
            self.stdout.write(f"All{can} is {_target(plan)} already.")
        else:
            self.stdout.write(f"To put {_target(plan)}: {_what(plan)}.")

    def _show(self, done: RotationReport) -> None:
        self.stdout.write(self.style.SUCCESS(f"Put {_target(done)}: {_what(done)}."))
        self._show_left(done)
        for key_id in [] if done.unreadable else done.still_used:
            still = (
                f"{_under(key_id)}: {done.in_use[key_id]:,} still, written meanwhile by a program that has "
                "other settings. Restart it with this store's present ones, then run this again."
            )
            self.stdout.write(self.style.WARNING(still))

    def _show_left(self, report: RotationReport) -> None:
        for entry in report.unreadable[:SHOWN]:
            self.stdout.write(self.style.ERROR(_line(entry)))
        if len(report.unreadable) > SHOWN:
            self.stdout.write(f"… and {len(report.unreadable) - SHOWN:,} more")
        if report.unneeded:
            self.stdout.write(
                f"Not needed any more: key {', '.join(report.unneeded)}. Nothing in this store is under it; "
                "take it out of ENCRYPTION_KEY once no program writes with it."
            )


def _question(plan: RotationReport) -> str:
    follows = (
        "Programs without this key cannot read it then."
        if plan.key_id
        else "Whoever can read the store can read all of it then."
    )
    return f"Put {_what(plan)} {_target(plan)}? {follows}"


def _target(report: RotationReport) -> str:
    return f"under key {report.key_id}" if report.key_id else "under no key"


def _under(key_id: str) -> str:
    return f"Under key {key_id}" if key_id else "Under no key"


def _what(report: RotationReport) -> str:
    return (
        f"{_number(report.events, 'event')} and {_number(report.snapshots, 'snapshot')} of "
        f"{_number(report.sessions, 'session')}"
    ) + "".join(f", and {_number(count, noun)}" for noun, count in report.beside.items())


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _line(entry: Unreadable) -> str:
    return f"{entry.session_id}: {entry.count:,} of its {entry.what} left: {entry.why}"


def _advice(report: RotationReport) -> str:
    if report.missing:
        return (
            f"Some of it cannot be read without key {', '.join(report.missing)}. Add that key behind the "
            "first in ENCRYPTION_KEY and run this again."
        )
    return "Some of it is damaged and was left as it is; see above."
