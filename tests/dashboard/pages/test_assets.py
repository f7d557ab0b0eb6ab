"""Files for the browser, as they are served from this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "static"


@pytest.mark.parametrize("path", ["css/base.css", "js/list.js", "icons/favicon.svg", "admin/css/base.css"])
def test_files_are_served_by_the_dashboard_itself_and_checked_for_changes(path):
    response = Client().get(f"/static/{path}")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "max-age=0, public"
    response.close()


def test_the_icons_are_kept_for_some_minutes():
    response = Client().get("/static/icons/sprite.svg")
    assert response.headers["Cache-Control"] == "max-age=600, public"
    response.close()


def test_a_file_that_is_not_there_is_not_found():
    assert Client().get("/static/nowhere.js").status_code == 404


@pytest.mark.parametrize("path", ["..%2fmanage.py", "../manage.py", "css/../../manage.py"])
def test_nothing_outside_is_served(path):
    assert Client().get(f"/static/{path}").status_code == 404


def test_browsers_that_ask_for_the_usual_icon_find_it(manager):
    assert Client().get("/favicon.ico").headers["Location"] == "/static/icons/favicon.svg"


def test_every_file_that_a_template_names_is_there():
    named = {
        name
        for template in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r"""\{% static ['"]([^'"{]+)['"] %\}""", template.read_text())
    }
    assert len(named) > 10
    assert [name for name in named if not finders.find(name)] == []


def test_every_picture_that_a_template_names_is_in_the_sprite():
    there = set(re.findall(r'id="([^"]+)"', (STATIC / "icons/sprite.svg").read_text()))
    named = {
        name
        for template in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r"""\{% icon "([^"]+)" """, template.read_text())
    }
    assert named
    assert named <= there


def test_every_status_has_its_picture_and_its_colour():
    from state_core.words import STATUSES

    sprite = (STATIC / "icons/sprite.svg").read_text()
    variables = (STATIC / "css/variables.css").read_text()
    for status, word in STATUSES.items():
        assert f'id="{status}"' in sprite
        assert f"--{word.colour}: light-dark(" in variables


def test_hashed_names_reach_into_modules_and_are_cached_for_ever(tmp_path):
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('collectstatic', interactive=False, verbosity=0)\n"
        "from django.templatetags.static import static\n"
        "from django.test import Client\n"
        "response = Client().get(static('js/list.js'), headers={'host': 'localhost'})\n"
        "print(static('js/list.js'), response.headers['Cache-Control'])\n"
        "print(b''.join(response).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "marsys_dashboard.settings",
            "STATE_VAR": str(tmp_path),
            "STATIC_HASHED": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"/static/js/list\.[0-9a-f]{12}\.js max-age=315360000, public, immutable", done.stdout)
    assert re.search(r'from "\./time\.[0-9a-f]{12}\.js"', done.stdout)
