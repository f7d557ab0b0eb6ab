"""What may not stand in a log. Loads no models: logging is set up before them."""

from __future__ import annotations

import logging
import re


class HideLinks(logging.Filter):
    """Keeps links that let somebody in, or answer, and access tokens out of the log."""

    pattern = re.compile(r"(/(?:sign-in|answer-by-link)/|marsys_pat_)[^/\s]+")

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        hidden = self.pattern.sub(r"\1…", message)
        if hidden != message:
            record.msg, record.args = hidden, ()
        return True
