"""What may not stand in a log. Loads no models: logging is set up before them."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from typing import Any

from daphne.access import AccessLogGenerator

SECRETS = re.compile(r"(/(?:sign-in|answer-by-link)/|marsys_pat_)[^/\s]+")


def hidden(text: str) -> str:
    return SECRETS.sub(r"\1…", text)


class HideLinks(logging.Filter):
    """Keeps links that let somebody in, or answer, and access tokens out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = hidden(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


def hide_in_access_log() -> None:
    """In that of ``daphne``, too, which writes it past ``logging`` and takes no formatter of ours."""
    write = AccessLogGenerator.write_entry

    def write_hidden(
        self: AccessLogGenerator, host: str, date: datetime, request: str, **fields: Any
    ) -> None:
        write(self, host, date, hidden(request), **fields)

    AccessLogGenerator.write_entry = write_hidden
