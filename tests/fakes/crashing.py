"""Makes a process of a test die, stand still or fail at a crash point, once; and sets its clock wrong.

CRASHES: a JSON list of `{"at": "finish.committing", "do": "kill", "nth": 2}`. `do` is `kill` (SIGKILL),
`stop` (SIGSTOP), `raise` (the connection breaks there). CRASH_FOLDER: where a file says that one happened, so
that it happens once among all processes. CLOCK_OFFSET: seconds that this process' clock is ahead.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from tests import mutants
from turnkeeper_storage import crash_points

Deed: TypeAlias = Literal["kill", "stop", "raise"]


@dataclass(frozen=True, slots=True)
class Crash:
    """The `nth` time that one process gets to `at`, it does `do`."""

    at: str
    do: Deed = "kill"
    nth: int = 1

    def __post_init__(self) -> None:
        assert self.at in crash_points.POINTS, self.at

    @property
    def mark(self) -> str:
        return f"{self.at}.{self.do}.{self.nth}"


def env_of(crashes: Sequence[Crash], folder: Path) -> dict[str, str]:
    """What a process is given that is to crash so."""
    folder.mkdir(exist_ok=True)
    return {"CRASHES": json.dumps([asdict(crash) for crash in crashes]), "CRASH_FOLDER": str(folder)}


def happened(crash: Crash, folder: Path) -> bool:
    """Whether some process did it."""
    return (folder / crash.mark).exists()


def install_from_env() -> None:
    """To be called by the module that a process of a test runs."""
    mutants.apply_from_env()
    offset = float(os.environ.get("CLOCK_OFFSET", "0"))
    if offset:
        real = time.time
        time.time = lambda: real() + offset
    crashes = [Crash(**given) for given in json.loads(os.environ.get("CRASHES", "[]"))]
    if crashes:
        crash_points.install(Crasher(crashes, Path(os.environ["CRASH_FOLDER"])))


class Crasher:
    """The hook of a process."""

    def __init__(self, crashes: Sequence[Crash], folder: Path) -> None:
        self._crashes = crashes
        self._folder = folder
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            self._reached[name] += 1
            due = [one for one in self._crashes if one.at == name and one.nth <= self._reached[name]]
        for crash in due:
            if self._is_first(crash):
                _do(crash)

    def _is_first(self, crash: Crash) -> bool:
        try:
            (self._folder / crash.mark).open("x").close()
        except FileExistsError:
            return False
        return True


# Held by a process of its own, so that nobody writes in the moment of the stop.
_STOP_BETWEEN_WRITES = """
import os, pathlib, signal, sqlite3, sys, time
path, pid = sys.argv[1], int(sys.argv[2])
database = sqlite3.connect(path, timeout=20, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
os.kill(pid, signal.SIGSTOP)
for _ in range(20_000):
    if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
        break
    time.sleep(0.001)
else:
    sys.exit("the process did not stop")
database.execute("ROLLBACK")
"""


def _stand_still(database_url: str) -> None:
    """Stop this process; on SQLite while no thread of it (a heartbeat, a sweep) is in a write.

    There the one that writes holds up everybody for as long as it stands: no time-out of a server ends it.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        # to this very thread: the process' main one might take it late, and this one go on meanwhile
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return
    stopper = [sys.executable, "-S", "-c", _STOP_BETWEEN_WRITES, url.database or "", str(os.getpid())]
    subprocess.run(stopper, check=True, timeout=600)


def _do(crash: Crash) -> None:
    match crash.do:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            _stand_still(os.environ["TURNKEEPER_DATABASE_URL"])
        case "raise":
            # as SQLAlchemy tells of a connection that broke
            lost = ConnectionResetError(f"at {crash.at}")
            raise OperationalError("COMMIT", {}, lost, connection_invalidated=True)
