"""Who is at the terminal, and may do what."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from marsys_dashboard.commandline.terminal import plain
from marsys_dashboard.permissions import PERMISSIONS, lacks, permissions_of

NOBODY = "Say by --as USER who you are: a change is approved by another user than the one who proposed it."


@dataclass(frozen=True)
class Who:
    actor: str
    """As the log names them."""
    permissions: frozenset[str]
    user: Any = None
    """Of the dashboard, where one was named."""

    def needed_user(self) -> Any:
        """Raises CommandError where none was named."""
        if self.user is None:
            raise CommandError(NOBODY)
        return self.user


async def who_is(username: str | None) -> Who:
    """A user of the dashboard, or, where none is named, the user of the operating system. Who can run this
    command can read and write all that it can, so that nothing is refused to them."""
    if username is None:
        return Who(at_terminal(), frozenset(PERMISSIONS))
    model = get_user_model()
    try:
        user = await model._default_manager.aget_by_natural_key(username)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {plain(username)!r}. Users are listed in the admin.") from None
    permissions = await permissions_of(user)
    if "view" not in permissions:
        raise CommandError(lacks(user, "view"))
    return Who(user.get_username(), permissions, user)


def at_terminal() -> str:
    """Who runs this command, as the log names them."""
    return f"{system_user()} (command line)"


def system_user() -> str:
    """By the number of the process's user: the environment may say anything."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
