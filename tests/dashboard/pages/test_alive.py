"""Whether the server answers."""

from __future__ import annotations

from django.test import Client


def test_whoever_asks_learns_that_the_server_answers_without_signing_in_or_a_database() -> None:
    """Without the mark for a database, a question to it fails."""
    response = Client().get("/alive/")
    assert (response.status_code, response.content) == (204, b"")
    assert "no-store" in response.headers["Cache-Control"]
    assert Client().head("/alive/").status_code == 204
    assert Client().post("/alive/").status_code == 405
