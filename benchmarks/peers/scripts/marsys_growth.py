"""marsys_growth.py FOLDER TURNS: a turn is one message of 1 KB, the session saved, and a checkpoint."""

import asyncio
import json
import random
import string
import sys
import time
from pathlib import Path

from marsys.coordination.state import FileStorageBackend, StateManager

folder, turns = Path(sys.argv[1]), int(sys.argv[2])
LETTERS = string.ascii_letters + string.digits
CHOSEN = random.Random(1)


async def main() -> float:
    manager = StateManager(FileStorageBackend(folder))
    messages: list[str] = []
    began = time.perf_counter()
    for turn in range(turns):
        messages.append("".join(CHOSEN.choices(LETTERS, k=1024)))
        await manager.save_session("growth", {"metadata": {"messages": messages}})
        await manager.create_checkpoint("growth", f"turn{turn}")
    return time.perf_counter() - began


print(json.dumps({"seconds": asyncio.run(main())}))
