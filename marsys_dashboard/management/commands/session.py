"""Sessions from a terminal: listed, shown, watched, and acted on."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from marsys_dashboard import managers
from marsys_dashboard.acts import ALL
from marsys_dashboard.commandline import acting, listed, reviewing, shown, watched
from marsys_dashboard.commandline.terminal import Console, plain, write_what_cannot_be_encoded_as_numbers
from marsys_dashboard.commandline.who import Who, who_is
from marsys_dashboard.deciding import CONSEQUENCES
from marsys_dashboard.failures import sentence
from state_core.exceptions import StateError

LONGEST_ERROR = 1_000
INTERRUPTED = 130
EPILOG = """\
A session is named by its id, or by store:id where several stores have it. Without --as, acts are recorded
as those of the operating system's user, such as "root (command line)", who may do all of them: whoever can
run this command can read and write the stores anyway. With --as USER they are that user's of the dashboard,
with that user's permissions. A change of a context is proposed (resume --ask) and decided with --as USER.

Exit codes: 0 done, 1 refused or not possible (a sentence on stderr says why), 2 wrong usage, 130 Ctrl-C;
of watch: 0 the session completed, 3 it failed, 4 it was cancelled.
"""
READING = {
    "list": (listed, "sessions, by the filters of the dashboard's page"),
    "show": (shown, "one session: branches, steps, questions, checkpoints, what can be done"),
    "watch": (watched, "the events of one session as they happen, until it ends"),
    "changes": (reviewing, "changed contexts that wait for another user's approval"),
}
DECIDING = {
    "approve": "approve a changed context: the session is resumed with it",
    "decline": "decline a changed context",
    "withdraw": "withdraw a changed context that you proposed",
}


class Command(BaseCommand):
    help = "List, show, watch, pause, resume, answer … sessions, as the dashboard does."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EPILOG
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for verb, (part, meaning) in READING.items():
            described = verbs.add_parser(verb, help=meaning, description=f"{meaning.capitalize()}.")
            part.add_arguments(described)
            _add_user(described)
        for action in ALL.values():
            described = verbs.add_parser(
                action.verb, help=action.label.rstrip("…").lower(), description=" ".join(action.consequences)
            )
            acting.add_arguments(described, action)
            _add_user(described)
        for verb, meaning in DECIDING.items():
            described = verbs.add_parser(verb, help=meaning, description=" ".join(CONSEQUENCES[verb]))
            reviewing.add_deciding_arguments(described, verb)
            _add_user(described)

    def handle(self, *args: Any, **options: Any) -> None:
        write_what_cannot_be_encoded_as_numbers()
        try:
            with asyncio.Runner() as runner:
                code = self._run(runner, options)
            self.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            _say_no_more()
            sys.exit(1)
        except (StateError, OperationalError, InterfaceError) as error:
            raise CommandError(plain(sentence(error), LONGEST_ERROR)) from error
        if code:
            sys.exit(code)

    def _run(self, runner: asyncio.Runner, options: dict[str, Any]) -> int:
        console = Console(self.stdout, self.stderr)
        try:
            who = runner.run(who_is(options["user"]))
            if options["verb"] in ALL:
                return acting.act(runner, console, who, ALL[options["verb"]], options)
            if options["verb"] in DECIDING:
                return reviewing.decide(runner, console, who, options["verb"], options)
            return runner.run(_read(console, who, options))
        finally:
            runner.run(managers.close())


def _add_user(parser: ArgumentParser) -> None:
    parser.add_argument("--as", dest="user", metavar="USER", help="as this user, and no more than they may")


async def _read(console: Console, who: Who, options: dict[str, Any]) -> int:
    if options["verb"] == "list":
        return await listed.show(console, options)
    if options["verb"] == "changes":
        return await reviewing.show(console, options)
    if options["verb"] == "show":
        return await shown.show(console, who.permissions, options)
    return await watched.watch(console, options)


def _say_no_more() -> None:
    """Whoever read the output has gone, as `head` does: what is left of it must not be an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
