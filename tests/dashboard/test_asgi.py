"""The process that serves: what it does before somebody asks."""

from __future__ import annotations

import gc
from io import StringIO

from daphne.access import AccessLogGenerator

from marsys_dashboard import asgi


def test_what_stays_as_long_as_the_process_is_not_looked_through_for_garbage() -> None:
    assert asgi.application
    assert gc.get_freeze_count() > 50_000


def test_what_lets_somebody_in_or_answer_stays_out_of_the_servers_access_log() -> None:
    assert asgi.application
    written = StringIO()
    visit = {"client": "127.0.0.1:9", "method": "GET", "status": 302, "size": 0}
    for path in ("/sign-in/a:b:c/", "/answer-by-link/d:e:f/?x=1", "/sessions/"):
        AccessLogGenerator(written)("http", "complete", {**visit, "path": path})
    logged = [line.split('"')[1] for line in written.getvalue().splitlines()]
    assert logged == ["GET /sign-in/…/", "GET /answer-by-link/…/?x=1", "GET /sessions/"]
