"""One child process on the loop: started in a session of its own, its lines handed on, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable
from pathlib import Path

from turnkeeper.dev.parts import Part

MAX_LINE = 65_536
KEPT_LINES = 20
# for the last lines of a process that has ended, while others still hold its output
DRAIN_SECONDS = 1.0


class Child:
    """A running part. Its standard input is held by us alone: when we are gone, it ends (see `child`).

    A session of its own, so that Ctrl-C in the terminal is for the supervisor, which then ends its children
    in order.
    """

    def __init__(self, part: Part, process: Process, on_line: Callable[[str], None]) -> None:
        self.part = part
        self.ready = asyncio.Event()
        self.last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = process
        self._on_line = on_line
        self._pump = asyncio.create_task(self._read(), name=f"turnkeeper-dev-{part.name}")

    @classmethod
    async def start(cls, part: Part, on_line: Callable[[str], None], cwd: Path | None = None) -> Child:
        """Run the part. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "turnkeeper.dev.child",
            *part.arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=dict(part.env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=part.handed,
        )
        return cls(part, process, on_line)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Its exit code, once it has ended and its lines are read; negative: the signal that ended it."""
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        await asyncio.wait([self._pump], timeout=DRAIN_SECONDS)
        self._pump.cancel()
        return code

    async def end(self, seconds: float) -> int:
        """SIGTERM, and SIGKILL after so many seconds; the exit code."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self.ended()
            self.kill()
        return await self.ended()

    def kill(self) -> None:
        """SIGKILL to it and to all that it started."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        # macOS answers EPERM for a group of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _read(self) -> None:
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it is a pipe
        rest = b""
        while chunk := await output.read(MAX_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._heard(line)
            if len(rest) > MAX_LINE:
                self._heard(rest)
                rest = b""
        if rest:
            self._heard(rest)

    def _heard(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_lines.append(text)
        self._on_line(text)
        if self.part.ready in text:
            self.ready.set()
