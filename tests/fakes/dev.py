"""`turnkeeper dev` as a newcomer runs it, and all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.fakes.wait import eventually_sync

COMMAND = (sys.executable, "-c", "from turnkeeper.cli.main import main; main()")
AGENTS = """
from turnkeeper import Agent, Turnkeeper, tool

@tool
async def order_status(order_id: str) -> str:
    return f"order {order_id} is on its way"

@tool(needs_approval=True)
async def refund(order_id: str) -> str:
    return f"order {order_id} was refunded"

support = Agent(name="support", model="m", instructions="INSTRUCTIONS", tools=[order_status, refund])
turnkeeper = Turnkeeper(agents=[support])
"""


def newcomers_environment() -> dict[str, str]:
    """The environment without any server or key named in it."""
    named = ("TURNKEEPER_", "OPENAI_", "CELERY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(named)}


def write_agents(folder: Path, instructions: str = "Help with orders.") -> None:
    """The module `agents` of a user."""
    (folder / "agents.py").write_text(AGENTS.replace("INSTRUCTIONS", instructions))


class Dev:
    """A `turnkeeper dev agents` process in a folder, or of another module."""

    def __init__(
        self, folder: Path, *options: str, env: dict[str, str] | None = None, module: str = "agents"
    ) -> None:
        self.folder = folder
        self.env = newcomers_environment() | (env or {})
        self._log = folder / "dev.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*COMMAND, "dev", module, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=folder,
                start_new_session=True,
            )
        self._self = psutil.Process(self._process.pid)
        self._seen: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def wait_for(self, text: str, *, times: int = 1, within: float = 40.0) -> None:
        """Return when its output has `text` so many times; AssertionError with the output otherwise."""
        try:
            eventually_sync(lambda: self.output.count(text) >= times or self._ended(), within=within)
        except AssertionError:
            raise AssertionError(f"no {text!r} within {within:g} s:\n{self.output}") from None
        assert self.output.count(text) >= times, self.output

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that run at present."""
        return self.parts("worker")

    def parts(self, role: str) -> list[psutil.Process]:
        """Its processes of that role that run at present."""
        return [one for one in self._children() if role in _arguments(one)]

    @contextlib.contextmanager
    def workers_stopped(self) -> Iterator[None]:
        """Its workers stand still (SIGSTOP) until the block ends."""
        stopped = self.workers()
        try:
            for worker in stopped:
                worker.suspend()
            yield
        finally:
            for worker in stopped:
                worker.resume()

    def signal(self, number: signal.Signals) -> None:
        self._children()
        self._process.send_signal(number)

    def code_within(self, seconds: float) -> int:
        """Its exit code."""
        try:
            eventually_sync(self._ended, within=seconds, every=0.1)
        except AssertionError:
            raise AssertionError(f"it still runs after {seconds:g} s:\n{self.output}") from None
        return self._process.wait()

    def left(self) -> list[psutil.Process]:
        """What it started and what still runs."""
        return [one for one in self._seen if _runs(one)]

    def end(self) -> None:
        self._children()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        for one in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may be ending by itself
                one.kill()

    def command(
        self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Another command in the same folder, to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=newcomers_environment() | (env or {}),
            cwd=self.folder,
            timeout=60,
            check=False,
        )

    def _ended(self) -> bool:
        self._children()
        return self._process.poll() is not None

    def _children(self) -> Sequence[psutil.Process]:
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            found = self._self.children(recursive=True)
        self._seen.update(found)
        return found


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
