"""The database's own clock, in statements. Leases follow it, so that machines need not agree on the time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now


class Clock(Now):
    """Now, read when the row is looked at: a statement that waited for a lock sees the time after it."""

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **extra)


def seconds_from_now(seconds: float) -> Any:
    return ExpressionWrapper(Clock() + timedelta(seconds=seconds), output_field=DateTimeField())


LASTS = Q(lease_expires_at__gt=Clock())
FREE = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lte=Clock())
