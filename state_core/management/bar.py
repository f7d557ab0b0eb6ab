"""A progress bar on a terminal: one line that is drawn over and over, on stderr."""

from __future__ import annotations

from typing import Any

from state_core.walk import WalkProgress

CHARACTERS = 30


class Bar:
    """``stream``: a command's stderr."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._width = 0

    def draw(self, part: float, text: str) -> None:
        """``part`` of it is done, from 0 to 1."""
        filled = round(part * CHARACTERS)
        self._replace(f"[{'#' * filled}{'.' * (CHARACTERS - filled)}] {part:4.0%}  {text}")

    def draw_walk(self, progress: WalkProgress) -> None:
        self.draw(
            progress.part,
            f"session {progress.sessions + 1:,} of {progress.of_sessions:,}: "
            f"{progress.session_id[:40]}, event {progress.events:,} of {progress.of_events:,}",
        )

    def wipe(self) -> None:
        self._replace("")
        self._write("\r")

    def _replace(self, line: str) -> None:
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def _write(self, text: str) -> None:
        self._stream.write(text, str, ending="")


def bar_on(stream: Any) -> Bar | None:
    """None where nobody is looking."""
    return Bar(stream) if stream.isatty() else None
