"""Real processes that a test starts, stops, kills, and whose end it never leaves to chance."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fakes.wait import eventually_sync

ROOT = Path(__file__).parents[2]
# characters of each log that are shown when a test failed
LOG_SHOWN = 6000


class Process:
    """A process in a group of its own, its output in a file. Signals go to the whole group."""

    def __init__(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
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


class Processes:
    """Starts processes and remembers them: `processes(sys.executable, "-m", "…", env={…})`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None) -> Process:
        log = self._folder / f"process-{len(self._started)}.log"
        process = Process(argv, log=log, env=env)
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
