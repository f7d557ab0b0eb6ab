"""The README's example runs as it stands, with scripted agents in its topology."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from scripted import TEAM, a_team, until

from state_core import StateManager
from state_core.storage import from_url

README = (Path(__file__).parents[3] / "README.md").read_text()
(EXAMPLE,) = re.findall(r"```py\n(from marsys\..*?)```", README, re.DOTALL)


async def check_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agents = a_team()
    names = {"topology": TEAM}
    code = compile(EXAMPLE, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, names)
    assert names["result"].success
    assert agents
    store = from_url("file:./state")
    ours = StateManager(store)

    async def is_completed():
        return (await ours.list_sessions(statuses=["completed"])) != []

    await until(is_completed)
    await store.close()
