"""Settings of the dashboard. Everything that an operator changes is read from the environment.

DATABASE_URL          postgresql://user:password@host:5432/name or sqlite:////path (var/state.sqlite3)
STATE_ENCRYPTION_KEY  reads (and, the first of several with commas, writes) encrypted content
STATE_ANSWER_LINK_HOURS  how long a link for answering works at most (default: 168); 0: there are none
SECRET_KEY            default: made once in var/secret_key
STATE_VAR             folder for what the dashboard writes (default: var, here or where it is started)
ALLOWED_HOSTS         names under which it is reached, with commas (default: this machine only)
CSRF_TRUSTED_ORIGINS  https://… origins, where a proxy ends TLS
HTTPS=1               cookies are sent over TLS only
BEHIND_PROXY=1        believe the proxy's X-Forwarded-Proto; only where it always sets that header
REVIEW_EDITS=1        contexts are changed only when a second person approves
STATIC_HASHED=1       file names with hashes, cached for ever; needs `manage.py collectstatic` before
DEBUG=1               tracebacks in the browser, files of static/ never cached; never in production
LOG_LEVEL             default: INFO
"""

from __future__ import annotations

import os
from pathlib import Path

from marsys_dashboard.environment import (
    content_version,
    database,
    hours,
    is_on,
    keep_files,
    secret_key,
    state_stores,
    var_folder,
    words,
)

PACKAGE = Path(__file__).resolve().parent
VAR_DIR = var_folder(PACKAGE.parent)
VAR_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = secret_key(VAR_DIR / "secret_key")
DEBUG = is_on("DEBUG")
ALLOWED_HOSTS = words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "daphne",
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "state_core",
    "marsys_dashboard",
]

MIDDLEWARE = [
    "marsys_dashboard.middleware.content_security_policy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "marsys_dashboard.middleware.StateErrors",
]

ROOT_URLCONF = "marsys_dashboard.urls"
ASGI_APPLICATION = "marsys_dashboard.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "marsys_dashboard.needs_views.navigation",
            ],
            "builtins": ["django.templatetags.static", "marsys_dashboard.templatetags.state"],
        },
    },
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [PACKAGE / "templates"],
        "OPTIONS": {"environment": "marsys_dashboard.compiled.environment"},
    },
]

DATABASES = {"default": database(os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR / 'state.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATE_STORES = state_stores()
"""Alias → URL, or BACKEND (dotted path) and OPTIONS (its arguments), and, where content is encrypted,
ENCRYPTION_KEY (one, or several of which the first encrypts and all decrypt): the stores that are shown."""

REVIEW_EDITS = is_on("REVIEW_EDITS")
"""Does a context that a person changes before a session is resumed need another person's approval?"""

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Signing in

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
SIGN_IN_LINK_AGE = 24 * 3600
"""Seconds for which a one-time sign-in link is good."""
ANSWER_LINK_AGE = hours("STATE_ANSWER_LINK_HOURS", 7 * 24)
"""Seconds for which a link for answering is good at most, one shared before too; 0: there are none."""
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_NAME = "marsys_session"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "marsys_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "marsys_dashboard.failures.csrf_failed"

HTTPS = is_on("HTTPS")
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if is_on("BEHIND_PROXY") else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
"""Largest form in bytes: additional context as JSON is what can be long."""

# Language and time

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

# Files for the browser

STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
STATIC_HASHED = is_on("STATIC_HASHED")
STATIC_FOLDERS = [PACKAGE / "static", PACKAGE.parent / "state_core" / "static"]
STATIC_URL = "/static/" if DEBUG or STATIC_HASHED else f"/static/{content_version(*STATIC_FOLDERS)}/"
"""With the version of all files in it, so that a browser asks for each of them once."""
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "marsys_dashboard.assets.HashedFiles"
        if STATIC_HASHED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not STATIC_HASHED
WHITENOISE_AUTOREFRESH = not STATIC_HASHED
"""Look at files anew each time: a file that is edited while it is served would otherwise be cut off."""
WHITENOISE_MAX_AGE = 0
"""Seconds, for addresses without a version: the browser asks each time and mostly gets "not modified"."""
WHITENOISE_ADD_HEADERS_FUNCTION = keep_files

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"no_links": {"()": "marsys_dashboard.logs.HideLinks"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["no_links"]},
    },
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "django.server": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "django.channels.server": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "daphne": {"level": "WARNING"},
    },
}
