"""``python -m state_core.storage.migrate <connection string>``: bring a store's tables up to date.

For a database that Django's settings name, use ``python manage.py migrate state_core``.
"""

from __future__ import annotations

import asyncio
import sys

from state_core.exceptions import StateError
from state_core.storage.database import DatabaseStorageBackend


async def migrate(connection_string: str) -> str:
    store = DatabaseStorageBackend(connection_string)
    try:
        await store.migrate()
    finally:
        await store.close()
    return f"{store!r} is up to date."


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("Usage: python -m state_core.storage.migrate <connection string>", file=sys.stderr)
        return 2
    try:
        print(asyncio.run(migrate(arguments[0])))
    except StateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
