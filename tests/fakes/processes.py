"""Real processes that a test starts, stops, kills, and whose end it never leaves to chance."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.fakes.wait import eventually_sync
from tests.fakes.warm import WarmProcess, WarmStarter

ROOT = Path(__file__).parents[2]
# characters of each log that are shown when a test failed
LOG_SHOWN = 6000


class Process:
    """A process in a group of its own, its output in a file. Signals go to the whole group."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        warm: WarmStarter | None = None,
    ) -> None:
        self._log = log
        whole = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | WarmProcess
        with log.open("wb") as output:
            if warm is not None and _is_ours(argv):
                self._process = warm.start(argv[2], argv[3:], log, whole)
            else:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=whole,
                    cwd=ROOT,
                    start_new_session=True,
                )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it wrote so far, to standard output and error."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, *, within: float = 30.0) -> str:
        """The log once it holds `text`; AssertionError with the log when the process ends or time passes."""
        try:
            eventually_sync(lambda: text in self.log or self.returncode is not None, within=within)
        except AssertionError:
            raise AssertionError(f"no {text!r} in its log within {within:g} s:\n{self.log}") from None
        log = self.log
        if text not in log:
            raise AssertionError(f"it ended with {self.returncode} before {text!r}:\n{log}")
        return log

    def kill9(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """SIGSTOP: it stands still until `cont`."""
        self._signal(signal.SIGSTOP)

    def stop_between_writes(self, database_url: str) -> None:
        """`stop`, on SQLite while it is in no write: there the one that writes holds up all for as long."""
        url = make_url(database_url)
        if url.get_backend_name() != "sqlite":
            self.stop()
            return
        with contextlib.closing(sqlite3.connect(url.database or "", timeout=20, isolation_level=None)) as one:
            one.execute("BEGIN IMMEDIATE")
            self.stop()
            eventually_sync(self._stands_still)
            one.execute("ROLLBACK")

    def _stands_still(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def cont(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout: float) -> int:
        """The return code; AssertionError with the log when it runs on after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.pid} still runs after {timeout:g} s:\n{self.log}") from None

    def ensure_gone(self) -> None:
        """SIGKILL to whatever is left of the group, also of children whose parent has ended."""
        # macOS answers EPERM for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)

    def _signal(self, number: signal.Signals) -> None:
        # A process that was waited for may have given its number to another: ask before each signal.
        if self._process.poll() is None:
            os.killpg(self.pid, number)


def _is_ours(argv: Sequence[str]) -> bool:
    """Whether this is a module of the tests: how it starts is not what they are about."""
    return list(argv[:2]) == [sys.executable, "-m"] and argv[2].startswith("tests.")


class Processes:
    """Starts processes and remembers them: `processes(sys.executable, "-m", "…", env={…})`.

    `warm`: those that are modules of the tests come from there.
    """

    def __init__(self, folder: Path, *, warm: WarmStarter | None = None) -> None:
        self._folder, self._warm = folder, warm
        self._started: list[Process] = []

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None) -> Process:
        log = self._folder / f"process-{len(self._started)}.log"
        process = Process(argv, log=log, env=env, warm=self._warm)
        self._started.append(process)
        return process

    def logs(self) -> str:
        """The end of what each of them wrote, and whether it still runs: for a test that failed."""
        parts = []
        for place, process in enumerate(self._started):
            code = process.returncode
            state = f"pid {process.pid}, " + ("runs" if code is None else f"ended with {code}")
            parts.append(f"--- process {place} ({state})\n{process.log[-LOG_SHOWN:]}")
        return "\n".join(parts)

    def end_all(self) -> None:
        """Kill what still runs."""
        while self._started:
            self._started.pop().ensure_gone()
