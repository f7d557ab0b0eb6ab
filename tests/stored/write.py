"""Write the samples of this version: ``python -m tests.stored.write``.

Run it once, when a version is released, and commit the folder that it makes: from then on
`test_stored.py` reads it with every later version. It refuses to write over samples that are there; only
those of a version that was never released may be deleted and written again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from state_core import FileStorageBackend, Head, HeadQuery, StateManager, StorageBackend
from state_core.copying import copy_sessions
from state_core.storage import from_url
from tests.stored.sessions import ROTATED, write_sessions, write_snapshots

HERE = Path(__file__).parent
FILES, FRAMES, SQL, RECORDED = "files", "frames", "sqlite.sql", "recorded.json"


async def recorded(storage: StorageBackend) -> dict[str, Any]:
    """Heads, checkpoints and states of all sessions, as JSON: what must be read for ever."""
    manager = StateManager(storage, config=ROTATED)
    heads = await storage.heads(HeadQuery(sort="session_id", limit=100))
    found = {head.session_id: await _recorded_session(manager, head) for head in heads}
    return dict(json.loads(json.dumps(found, default=str)))


async def _recorded_session(manager: StateManager, head: Head) -> dict[str, Any]:
    session_id = head.session_id
    checkpoints = await manager.list_checkpoints(session_id)
    places = sorted({head.last_seq, *(checkpoint.seq for checkpoint in checkpoints)})
    shown = asdict(replace(head, owner="", fence=0, lease_expires_at=None))
    return {
        "head": shown,
        "checkpoints": [asdict(checkpoint) for checkpoint in checkpoints],
        "encodings": [event.encoding for event in await manager.storage.read_events(session_id)],
        "states": {str(seq): await manager.log.document(session_id, seq) for seq in places},
    }


async def write(folder: Path) -> None:
    """The same sessions as readable lines, as binary frames and as SQL."""
    store = FileStorageBackend(folder / FILES)
    await write_sessions(store)
    found = json.dumps(await recorded(store), ensure_ascii=False, sort_keys=True, indent=1)
    (folder / RECORDED).write_text(found + "\n", "utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        frames = FileStorageBackend(folder / FRAMES, use_json=False)
        database = from_url(f"sqlite:///{temporary}/state.db")
        for target in (frames, database):
            await copy_sessions(store, target)
        for each in (store, frames, database):
            await write_snapshots(each)
            await each.close()
        with closing(sqlite3.connect(f"{temporary}/state.db")) as connection:
            (folder / SQL).write_text("\n".join(connection.iterdump()) + "\n", "utf-8")
    for index in folder.glob("*/index.sqlite3*"):
        index.unlink()  # It is made anew from the logs.


def main() -> None:
    folder = HERE / version("marsys-dashboard")
    try:
        folder.mkdir()
    except FileExistsError:
        sys.exit(f"{folder} is there already: what a version wrote is never written again.")
    try:
        asyncio.run(write(folder))
    except BaseException:
        shutil.rmtree(folder)
        raise


if __name__ == "__main__":
    main()
