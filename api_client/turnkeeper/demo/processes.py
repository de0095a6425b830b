"""The demo's children: processes in groups of their own, their output in files, none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from turnkeeper_storage.errors import TurnkeeperError

STOP_SECONDS = 8.0
POLL_SECONDS = 0.02


class DemoFailed(TurnkeeperError):
    """The demo could not be played to its end; the text says what happened and where to look."""


class Child:
    """One process: `python -m module …`."""

    def __init__(self, name: str, log: Path, *arguments: str) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                # Ctrl-C in the terminal is for the demo, which then ends its children itself.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float) -> str:
        """Block until its log holds `text`, and give the log. Raises DemoFailed when it ends before."""
        limit = time.monotonic() + seconds
        while text not in (log := self.log()):
            if self.has_ended or time.monotonic() > limit:
                state = "ended" if self.has_ended else f"was not ready within {seconds:g} s"
                last = " | ".join(log.strip().splitlines()[-3:])
                raise DemoFailed(f"{self.name} {state}; its last words: {last or 'none'}")
            time.sleep(POLL_SECONDS)
        return log

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its group, unless it has ended."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def stopped_by(self, limit: float) -> bool:
        """Whether it ended by itself before the monotonic clock shows `limit`."""
        try:
            self._process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True


class Children:
    """Starts children, and ends all of them with the block: gently after its end, at once after an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def start(self, name: str, *arguments: str) -> Child:
        """Run `python -m arguments…`, its output in the file `name.log`."""
        child = Child(name, self._folder / f"{name.replace(' ', '-')}.log", *arguments)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        limit = time.monotonic() + (STOP_SECONDS if error is None else 0.0)
        for child in self._children:
            child.signal(signal.SIGTERM)
        for child in self._children:
            if not child.stopped_by(limit):
                child.kill()
