"""What has to be right before the dashboard serves: each thing that is not, one clear sentence."""

from __future__ import annotations

import socket

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

OPERATOR = "operator"


def refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise CommandError(
                f"Port {port} may not be opened by this user. Choose one above 1023."
            ) from None
        except OSError as error:
            raise CommandError(
                f"Port {port} on {host} is taken ({error.strerror}). Choose another: make run PORT={port + 1}"
            ) from None


def refuse_unreachable_database() -> None:
    try:
        connection.ensure_connection()
    except OperationalError as error:
        raise CommandError(
            f"The database {database_name()} cannot be reached ({_first_line(error)}). "
            "Start it, or correct DATABASE_URL."
        ) from None


def database_name() -> str:
    """As people know it, without the password."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(given["NAME"])
    return f"{given['NAME']!r} at {given['HOST'] or 'localhost'}:{given['PORT'] or 5432}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def prepare_tables(*, migrate: bool) -> None:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not missing:
        return
    if not migrate:
        names = ", ".join(str(migration) for migration, _ in missing[:1])
        raise CommandError(
            f"The tables in {database_name()} are older than this version: {len(missing)} migrations are "
            f"missing, the first {names}. Run: manage.py migrate"
        )
    call_command("migrate", interactive=False, verbosity=0)


def first_operator() -> AbstractBaseUser:
    """A superuser that signs in by link alone; made where there is no superuser yet."""
    users = get_user_model()._default_manager
    known = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
    return known or users.create_superuser(OPERATOR, password=None)  # type: ignore[attr-defined]
