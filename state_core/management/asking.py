"""Asking whoever runs a command whether it is to go on."""

from __future__ import annotations

from django.core.management.base import CommandError

INTERRUPTED = 130
"""How a command ends that Ctrl-C ended."""


def agreed(question: str) -> bool:
    """To be asked outside of any event loop, which would keep Ctrl-C until something is typed."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        raise CommandError("Nobody is there to be asked; pass --yes to do it without.") from None
    except KeyboardInterrupt:
        raise CommandError("Nothing was changed.", returncode=INTERRUPTED) from None
