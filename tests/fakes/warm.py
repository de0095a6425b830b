"""Processes that start warm: forked from one that has imported what they will import.

Those imports take a second of processor time, which is most of what a worker costs that a test starts. A warm
process is as real as any: it has an id, a group and a session of its own, its own environment, and runs its
module as `python -m` does. Linux only; elsewhere processes start as ever.

    python -m tests.fakes.warm SOCKET   # the one that is forked; it ends with its standard input
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# what workers import; their agents and what breaks them are imported by each of them
MODULES = (
    "asyncpg",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "psycopg",
    "redis.asyncio",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "turnkeeper",
    "turnkeeper.telemetry",
    "turnkeeper_client",
    "turnkeeper_worker.app",
    "turnkeeper_worker.celery_steps",
    "turnkeeper_worker.command",
    "turnkeeper_worker.runtime",
)
IS_POSSIBLE = hasattr(os, "pidfd_open")
START_SECONDS = 60.0


class WarmProcess:
    """A process that was forked for us: what `subprocess.Popen` says of one that it started."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its return code, None while it runs."""
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its return code; subprocess.TimeoutExpired when it runs on after `timeout` seconds."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = _number(self._connection)
            self._connection.close()
        return self.returncode


class WarmStarter:
    """Starts processes from one of its own, which it starts with the first of them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tk-warm-")
        self._path = str(Path(self._folder.name, "socket"))
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, module: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> WarmProcess:
        """`python -m module arguments`, with exactly this environment and its output in `log`."""
        if self._server is None:
            self._server = _serve(self._path)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(START_SECONDS)
        connection.connect(self._path)
        order = {"module": module, "arguments": list(arguments), "log": str(log), "env": dict(env)}
        with connection.makefile("wb") as file:
            file.write(json.dumps(order).encode() + b"\n")
        return WarmProcess(connection, _number(connection))

    def close(self) -> None:
        """End the one that others are forked from; those are the caller's to end before."""
        if self._server is not None:
            assert self._server.stdin is not None
            self._server.stdin.close()
            self._server.wait(10)
        self._folder.cleanup()


def _number(connection: socket.socket) -> int:
    """The next line, and no byte of what comes after it."""
    told = b""
    while not told.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, "the process that others are forked from has ended"
        told += byte
    return int(told)


def _serve(path: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.fakes.warm", path]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()
    return server


def serve(path: str) -> Callable[[], object] | None:
    """Fork whoever is asked for. Returns what a forked one has to do, and None in the first when it ends."""
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen(16)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                if key.fileobj == sys.stdin.fileno():
                    return None
                if key.data is not None:
                    _tell_end(selector, key)
                    continue
                connection, _address = listener.accept()
                with connection.makefile("rb") as file:
                    order = json.loads(file.readline())
                pid = os.fork()
                if pid == 0:
                    return lambda order=order: _run(**order)  # type: ignore[misc]
                connection.sendall(b"%d\n" % pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (connection, pid))


def _tell_end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    connection, pid = key.data
    _, status = os.waitpid(pid, 0)
    selector.unregister(key.fileobj)
    os.close(key.fd)
    with connection, contextlib.suppress(OSError):  # a test that has ended does not ask any more
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _run(module: str, arguments: list[str], log: str, env: dict[str, str]) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((0, nothing), (1, output), (2, output)):
        os.dup2(descriptor, number)
    # the ones that it has write to the same numbers, and are kept by sys.__stdout__ and sys.__stderr__
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """The one that is forked, and in each that was forked what that has to do."""
    for name in MODULES:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.collect()
    gc.freeze()
    act: Callable[[], Any] | None = serve(sys.argv[1])
    if act is not None:
        act()


if __name__ == "__main__":
    main()
