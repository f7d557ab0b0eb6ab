"""What Django's system check says of where the dashboard is installed."""

from __future__ import annotations

from typing import Any

from marsys_dashboard.checks import runs_with_its_own_settings


def test_its_own_settings_have_all_that_it_reads() -> None:
    assert runs_with_its_own_settings() == []


def test_in_another_project_it_says_how_to_serve_it_beside(settings: Any) -> None:
    del settings.STATE_STORES
    (found,) = runs_with_its_own_settings()
    assert "no STATE_STORES" in found.msg
    assert "from marsys_dashboard.settings import *" in found.hint
