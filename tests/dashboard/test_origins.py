from __future__ import annotations

import pytest

from marsys_dashboard.origins import is_own, is_trusted


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://Dash.example", "dash.example", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
        ("http://127.0.0.1:8000.evil.example", "127.0.0.1:8000", False),
        ("null", "127.0.0.1:8000", False),
        ("", "", False),
        ("://", "", False),
    ],
)
def test_an_own_page_has_the_name_and_port_that_are_asked(origin, host, own):
    assert is_own(origin, host) is own


@pytest.mark.parametrize(
    ("origin", "trusted"),
    [
        ("https://dash.example", True),
        ("http://dash.example", False),
        ("https://a.team.example", True),
        ("https://a.team.example.evil.example", False),
        ("http://a.team.example", False),
        ("", False),
    ],
)
def test_other_origins_are_trusted_as_those_of_forms_are(origin, trusted, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://dash.example", "https://*.team.example"]
    assert is_trusted(origin) is trusted
