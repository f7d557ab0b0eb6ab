"""What the dashboard reads from its environment, checked once, with a clear sentence where it is wrong."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}


MOST_HOURS = 24 * 365
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


def is_on(name: str, default: str = "") -> bool:
    value = os.environ.get(name, default).strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"", "0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}. Set it to 1 or 0.")


def hours(name: str, default: int) -> int:
    """As seconds."""
    value = os.environ.get(name, "").strip() or str(default)
    if not value.isdecimal() or int(value) > MOST_HOURS:
        raise ImproperlyConfigured(f"{name} is {value!r}. Set it to hours, 0 to {MOST_HOURS}.")
    return int(value) * 3600


def var_folder(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """What ``STATE_VAR`` names, or ``var``: in the checkout, and where there is none, where it is started."""
    home = root if (root / "manage.py").exists() else Path.cwd()
    return Path(environ.get("STATE_VAR") or home / "var")


def words(name: str, default: str = "", environ: Mapping[str, str] = os.environ) -> list[str]:
    return [word.strip() for word in environ.get(name, default).split(",") if word.strip()]


def state_stores(environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """The stores to show: Django's own database as ``default``, and those that ``STATE_STORES`` names, as
    ``alias=url`` with spaces between them. ``STATE_ENCRYPTION_KEY`` and ``STATE_ENCRYPTION_KEY_<ALIAS>``
    hold their keys, with commas."""
    entries: dict[str, dict[str, Any]] = {
        "default": {"BACKEND": "state_core.storage.database.DatabaseStorageBackend"}
    }
    for number, word in enumerate(environ.get("STATE_STORES", "").split(), start=1):
        alias, _, url = word.partition("=")
        if not _ALIAS.fullmatch(alias) or ":" not in url:
            raise ImproperlyConfigured(
                f"Entry {number} of STATE_STORES is no alias=url. Write for instance STATE_STORES="
                "'files=file:/srv/state team=redis://host:6379/0'; aliases are letters, digits, - and _."
            )
        entries[alias] = {"URL": url}
    for alias, entry in entries.items():
        entry["ENCRYPTION_KEY"] = words(_key_variable(alias), environ=environ)
    return entries


def _key_variable(alias: str) -> str:
    own = "STATE_ENCRYPTION_KEY"
    return own if alias == "default" else f"{own}_{alias.upper().replace('-', '_')}"


def database(url: str) -> dict[str, Any]:
    """Django's settings for ``postgresql://user:password@host:port/name?sslmode=…`` or ``sqlite:///path``."""
    scheme = url.partition("://")[0]
    if scheme in {"postgresql", "postgres"}:
        return _postgresql(url)
    if scheme == "sqlite":
        return _sqlite(url)
    raise ImproperlyConfigured(
        f"DATABASE_URL begins with {scheme[:20]!r}. Use postgresql://user:password@host:5432/name "
        "or sqlite:////absolute/path.sqlite3 (sqlite:///relative.sqlite3)."
    )


def _postgresql(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read. Percent-encode special characters in its password."
        ) from error
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise ImproperlyConfigured("DATABASE_URL names no database: postgresql://user@host:5432/name.")
    options: dict[str, str] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", unquote(parts.hostname or "")),
        "PORT": options.pop("port", str(port or "")),
        "OPTIONS": {"connect_timeout": 5, **options},
        "CONN_HEALTH_CHECKS": True,
    }


def _sqlite(url: str) -> dict[str, Any]:
    path = unquote(url.removeprefix("sqlite://").removeprefix("/").partition("?")[0])
    if not path:
        raise ImproperlyConfigured("DATABASE_URL names no file: sqlite:////absolute/path.sqlite3.")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": dict(SQLITE_OPTIONS)}


def secret_key(path: Path, environ: Mapping[str, str] = os.environ) -> str:
    """``SECRET_KEY``, or the one in ``path``, made on first use and readable by its owner only."""
    given = environ.get("SECRET_KEY", "")
    if given:
        return given
    try:
        return _kept_key(path)
    except OSError as error:
        raise ImproperlyConfigured(
            f"There is no secret key: {path} cannot be read or made ({error.strerror}). "
            "Set SECRET_KEY, or STATE_VAR to a folder that may be written."
        ) from error


def _kept_key(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _read_key(path)
    key = secrets.token_urlsafe(50)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    return key


def _read_key(path: Path) -> str:
    key = path.read_text().strip()
    if len(key) < 50:
        raise ImproperlyConfigured(f"{path} does not hold a secret key. Delete it to have a new one made.")
    return key


def content_version(*folders: Path) -> str:
    """Another one as soon as any file of the folders is another."""
    digest = hashlib.blake2b(digest_size=6)
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def keep_files(headers: MutableMapping[str, str], path: str, url: str) -> None:
    """A browser keeps for good what has a version in its address; icons for some minutes at any rate."""
    if _VERSIONED.match(url):
        headers["Cache-Control"] = "max-age=31536000, public, immutable"
    elif url.endswith("icons/sprite.svg"):
        headers["Cache-Control"] = "max-age=600, public"


_VERSIONED = re.compile(r"/static/[0-9a-f]{12}/")
