"""Files for the browser, as they are served from this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.test import Client

from marsys_dashboard.environment import content_version

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "static"


@pytest.mark.parametrize("path", ["css/base.css", "js/list.js", "icons/favicon.svg", "admin/css/base.css"])
def test_files_are_served_by_the_dashboard_itself_and_asked_for_once(path):
    response = Client().get(static(path))
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "max-age=31536000, public, immutable"
    response.close()


@pytest.mark.parametrize("version", ["", "0123456789ab/"])
def test_a_page_of_another_version_is_led_to_the_files_of_this_one(version):
    response = Client().get(f"/static/{version}js/list.js")
    assert (response.status_code, response.headers["Location"]) == (302, static("js/list.js"))
    assert "no-store" in response.headers["Cache-Control"]


def test_the_version_changes_with_any_file(tmp_path):
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "one.js").write_text("1")
    first = content_version(tmp_path)
    assert content_version(tmp_path) == first
    (tmp_path / "js" / "one.js").write_text("2")
    second = content_version(tmp_path)
    (tmp_path / "js" / "one.js").rename(tmp_path / "js" / "two.js")
    assert len({first, second, content_version(tmp_path)}) == 3


def test_a_file_that_is_not_there_is_not_found():
    for address in ("/static/nowhere.js", static("nowhere.js")):
        assert Client().get(address).status_code == 404


@pytest.mark.parametrize("path", ["..%2fmanage.py", "../manage.py", "css/../../manage.py"])
def test_nothing_outside_is_served(path):
    assert Client().get(f"/static/{path}").status_code == 404


def test_browsers_that_ask_for_the_usual_icon_find_it(manager):
    assert Client().get("/favicon.ico").headers["Location"] == static("icons/favicon.svg")


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
        for template in (ROOT / "templates").rglob("*.*")
        for name in re.findall(r"""\bicon[ (]"([^"]+)\"""", template.read_text())
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
