"""Threads of LangGraph's own checkpointers into a store of ours."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from state_core.exceptions import StateError, StorageUnavailable
from state_core.managers import manager

if TYPE_CHECKING:
    from state_core.adapters.langgraph.importing import ImportProgress, ThreadImport


class Command(BaseCommand):
    help = (
        "Read a checkpoint database of LangGraph's savers, sqlite:///path or postgresql://…, into a store: "
        "every checkpoint and every pending write. Nothing is changed there. Stopped in the middle and "
        "started again, it goes on. Everything that is imported is read back and compared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", metavar="URL", help="sqlite:///path or postgresql://…")
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument("--thread", action="append", metavar="ID", help="only this one; may be repeated")
        parser.add_argument(
            "--workflow", default="LangGraph", help="what the sessions are called (LangGraph)"
        )
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="module:Class",
            help="a class of your own that stands in the state; may be repeated",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            results = self._import(options)
        except ImportError as error:
            raise CommandError(str(error)) from error
        except StorageUnavailable as error:
            raise CommandError(f"{error} What was imported stays; start again to go on.") from error
        except StateError as error:
            raise CommandError(str(error)) from error
        for result in results:
            self._tell(result)
        self._sum_up(results)
        if any(result.why for result in results):
            raise CommandError("Some threads could not be imported; see above.")

    def _import(self, options: dict[str, Any]) -> Sequence[ThreadImport]:
        from state_core.adapters.langgraph import StateCoreSaver
        from state_core.adapters.langgraph.importing import import_threads
        from state_core.adapters.langgraph.source import opened

        allow = [_class(path) for path in options["allow"]]
        saver = StateCoreSaver(manager(options["store"]), allow=allow, workflow=options["workflow"])
        with saver, opened(options["source"], saver.serde) as source:
            progress = self._draw if self.stderr.isatty() else lambda _: None
            return import_threads(source, saver, options["thread"], on_progress=progress)

    def _draw(self, progress: ImportProgress) -> None:
        line = (
            f"thread {progress.threads + 1:,} of {progress.of_threads:,}: {progress.thread_id[:40]}, "
            f"checkpoint {progress.checkpoints:,} of {progress.of_checkpoints:,}"
        )
        ending = "\n" if progress.checkpoints == progress.of_checkpoints else ""
        self.stderr.write(f"\r{line.ljust(100)}", str, ending=ending)

    def _tell(self, result: ThreadImport) -> None:
        if result.why:
            self.stdout.write(self.style.ERROR(f"{result.thread_id}  failed: {result.why}"))
            return
        told = "imported" if result.written else "there already"
        self.stdout.write(f"{result.thread_id}  {told}, {result.checkpoints:,} checkpoints")

    def _sum_up(self, results: Sequence[ThreadImport]) -> None:
        good = [result for result in results if not result.why]
        checkpoints = sum(result.checkpoints for result in good)
        self.stdout.write(
            f"Verified: {len(good):,} threads with {checkpoints:,} checkpoints and their pending writes "
            "are the same here as there."
        )


def _class(path: str) -> type:
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(f"{path!r} cannot be imported: {error}. Give module:Class.") from error
    if not isinstance(found, type):
        raise CommandError(f"{path!r} is no class.")
    return found
