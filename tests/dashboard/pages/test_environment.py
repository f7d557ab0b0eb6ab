from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from marsys_dashboard.environment import database, hours, is_on, secret_key, state_stores, var_folder

ROOT = Path(__file__).parents[3]


def test_a_postgresql_address_is_read_in_all_its_parts():
    found = database("postgresql://ma%40x:p%2Fw%3A@db.example:6432/state?sslmode=require")
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["USER"], found["PASSWORD"]) == ("ma@x", "p/w:")
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("db.example", "6432", "state")
    assert found["OPTIONS"]["sslmode"] == "require"


def test_a_postgresql_socket_can_be_named():
    found = database("postgresql:///state?host=/run/postgresql&user=x")
    assert (found["HOST"], found["NAME"]) == ("/run/postgresql", "state")


@pytest.mark.parametrize(
    ("url", "name"),
    [("sqlite:////var/lib/state.db", "/var/lib/state.db"), ("sqlite:///state.db", "state.db")],
)
def test_an_sqlite_address_names_a_file(url, name):
    assert database(url)["NAME"] == name


@pytest.mark.parametrize(
    "url",
    [
        "mysql://x/y",
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///",
        "postgresql://host",
        "postgresql://u:p@h:port/x",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as caught:
        database(url)
    assert "p@h" not in str(caught.value)


@pytest.mark.parametrize(("value", "seconds"), [("", 168 * 3600), ("0", 0), ("12", 12 * 3600)])
def test_hours_are_a_number_with_a_default(monkeypatch, value, seconds):
    monkeypatch.setenv("STATE_ANSWER_LINK_HOURS", value)
    assert hours("STATE_ANSWER_LINK_HOURS", 168) == seconds


@pytest.mark.parametrize("value", ["-1", "1.5", "a day", "8761"])
def test_hours_that_make_no_sense_are_refused_with_what_would(monkeypatch, value):
    monkeypatch.setenv("STATE_ANSWER_LINK_HOURS", value)
    with pytest.raises(ImproperlyConfigured, match="STATE_ANSWER_LINK_HOURS.*Set it to hours, 0 to"):
        hours("STATE_ANSWER_LINK_HOURS", 168)


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_switches_are_on_or_off(monkeypatch, value, expected):
    monkeypatch.setenv("HTTPS", value)
    assert is_on("HTTPS") is expected


def test_a_switch_that_is_neither_is_refused(monkeypatch):
    monkeypatch.setenv("HTTPS", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="Set it to 1 or 0"):
        is_on("HTTPS")


def test_further_stores_and_their_keys_are_named_in_the_environment():
    found = state_stores(
        {
            "STATE_STORES": "files=file:/srv/state  the-team=postgresql://u:p@host/name",
            "STATE_ENCRYPTION_KEY": "own",
            "STATE_ENCRYPTION_KEY_THE_TEAM": "new,old",
        }
    )
    assert list(found) == ["default", "files", "the-team"]
    assert found["files"] == {"URL": "file:/srv/state", "ENCRYPTION_KEY": []}
    assert found["the-team"] == {"URL": "postgresql://u:p@host/name", "ENCRYPTION_KEY": ["new", "old"]}
    assert found["default"]["ENCRYPTION_KEY"] == ["own"]


@pytest.mark.parametrize("given", ["file:/srv/state", "x", "=file:x", "a/b=file:x", "a=x"])
def test_a_store_without_a_name_or_a_url_is_refused(given):
    with pytest.raises(ImproperlyConfigured, match="alias=url"):
        state_stores({"STATE_STORES": given})


def test_a_password_is_not_repeated():
    with pytest.raises(ImproperlyConfigured) as caught:
        state_stores({"STATE_STORES": "postgresql://user:sesame@host/name"})
    assert "sesame" not in str(caught.value)


def test_a_secret_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "secret_key"
    made = secret_key(path, {})
    assert len(made) >= 50
    assert secret_key(path, {}) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_given_secret_key_wins(tmp_path):
    assert secret_key(tmp_path / "none", {"SECRET_KEY": "given"}) == "given"
    assert not (tmp_path / "none").exists()


def test_a_secret_key_that_cannot_be_kept_is_a_loud_failure(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="Set SECRET_KEY"):
        secret_key(tmp_path / "missing" / "secret_key", {})


def test_a_damaged_secret_key_is_a_loud_failure(tmp_path):
    path = tmp_path / "secret_key"
    path.write_text("")
    with pytest.raises(ImproperlyConfigured, match="Delete it"):
        secret_key(path, {})


def setting(tmp_path: Path, expression: str, **environ: str) -> str:
    code = f"from marsys_dashboard import settings; print({expression})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "STATE_VAR": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_cookies_are_for_tls_only_where_there_is_tls(tmp_path):
    names = "settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS > 0"
    assert setting(tmp_path, names, HTTPS="1") == "True True True"
    assert setting(tmp_path, names) == "False False False"


def test_without_any_setting_the_dashboard_is_closed_to_others_and_hides_tracebacks(tmp_path):
    assert setting(tmp_path, "settings.DEBUG, *settings.ALLOWED_HOSTS") == "False 127.0.0.1 localhost [::1]"


def test_what_it_writes_lies_in_the_checkout_or_where_it_is_started(tmp_path, monkeypatch):
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "site-packages"
    checkout.mkdir()
    (checkout / "manage.py").touch()
    monkeypatch.chdir(tmp_path)
    assert var_folder(checkout, {}) == checkout / "var"
    assert var_folder(elsewhere, {}) == tmp_path / "var"
    assert var_folder(checkout, {"STATE_VAR": "/srv/state"}) == Path("/srv/state")
