"""`turnkeeper demo` as a newcomer runs it: no terminal, no server and no key named anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.wait import eventually_sync
from turnkeeper.practice.server import PracticeServer
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

STARTED = 4  # broker, model, two workers
COMMAND = (sys.executable, "-c", "from turnkeeper.cli.main import main; main()", "demo")


class Demo:
    """A demo process and all that it started, as seen whenever `ended` or `started` was asked."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self._log = folder / "demo.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*COMMAND, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_newcomers_environment() | (env or {}),
                cwd=folder,
                start_new_session=True,
            )
        self._self = psutil.Process(self._process.pid)
        self._seen: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def started(self) -> int:
        """How many processes it has started so far."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(self._self.children(recursive=True))
        return len(self._seen)

    def code_within(self, seconds: float) -> int:
        """Its exit code."""

        def ended() -> bool:
            self.started()
            return self._process.poll() is not None

        try:
            eventually_sync(ended, within=seconds, every=0.1)
        except AssertionError:
            raise AssertionError(f"it still runs after {seconds:g} s:\n{self.output}") from None
        return self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def left(self) -> list[psutil.Process]:
        """What it started and what still runs."""
        return [process for process in self._seen if _runs(process)]

    def end(self) -> None:
        self.started()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        for process in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may be ending by itself
                process.kill()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _newcomers_environment() -> dict[str, str]:
    named = ("TURNKEEPER_", "OPENAI_", "CELERY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(named)}


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.end()


def test_the_demo_kills_a_worker_proves_that_nothing_is_lost_and_leaves_nothing_behind(
    tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    assert demo.code_within(90) == 0, demo.output
    assert "model: the practice model, a local server that follows rules and is no AI" in demo.output
    assert "12 messages accepted, 12 answered, 0 left over" in demo.output
    assert re.search(r"ok +worker [AB] \(pid \d+\) was killed \(SIGKILL\) at ", demo.output)
    assert re.search(r"ok .* was taken over \d+\.\d s after the kill, epoch 1 to 2; ", demo.output)
    assert len(re.findall(r"ok +\w+: message 2 was sent .* when that was answered", demo.output)) == 5
    assert re.search(r"ok +eva's answer came live in \d\d+ deltas, .* are the stored answer", demo.output)
    assert re.search(r"fay's refund waits for a person: awaiting_approval, no lease, no worker", demo.output)
    assert re.search(r"calls refund\(order_id='7', amount=12.5\)  <- waits", demo.output)
    assert re.search(r"ok +fay's refund was approved by .* \(pid \d+\) .* the shop did it once", demo.output)
    assert re.search(r"ok +gus's refund was rejected by .* the shop did it never", demo.output)
    assert re.search(r"ok +fay's message 2 was sent .* before the decision .* stayed queued", demo.output)
    assert "FAILED" not in demo.output
    assert demo.started() >= STARTED
    assert demo.left() == []
    assert [path.name for path in tmp_path.iterdir()] == ["demo.log"]


@pytest.mark.parametrize(
    ("number", "code", "when"),
    [
        (signal.SIGTERM, 143, "sent 8 messages"),
        (signal.SIGINT, 130, "sent 8 messages"),
        (signal.SIGTERM, 143, "turnkeeper approvals approve apr_"),
    ],
)
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, demos: list[Demo], number: signal.Signals, code: int, when: str
) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    eventually_sync(lambda: demo.started() >= STARTED and when in demo.output, within=60)
    demo.signal(number)
    assert demo.code_within(20) == code, demo.output
    assert demo.output.splitlines()[-1].endswith("everything that was started is stopped.")
    assert "Traceback" not in demo.output
    assert demo.left() == []


async def test_a_model_that_refuses_the_key_is_named_and_ends_the_demo_with_1(
    tmp_path: Path, demos: list[Demo]
) -> None:
    async with PracticeServer(require_key="another") as model:
        demo = Demo(tmp_path, env={"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "wrong"})
        demos.append(demo)
        code = await asyncio.to_thread(demo.code_within, 60)
    assert code == 1, demo.output
    assert "of the server that OPENAI_BASE_URL names (calls may cost money)" in demo.output
    assert "message 1 is failed (model_" in demo.output
    assert "no worker could be caught in the middle of a run: all runs ended before" in demo.output
    assert "wrong" not in demo.output
    assert demo.left() == []


def test_a_database_in_use_is_refused_before_anything_is_done_to_it(
    tmp_path: Path, demos: list[Demo]
) -> None:
    in_use = tmp_path / "shop.db"
    _put_a_session_into(in_use)
    demo = Demo(tmp_path, "--database-url", "sqlite:///shop.db")
    demos.append(demo)
    assert demo.code_within(60) == 2, demo.output
    assert "--database-url: the demo wants a database of its own, this one has 1 sessions" in demo.output
    assert demo.left() == []


def _put_a_session_into(path: Path) -> None:
    async def put() -> None:
        session = SQLAlchemySession.from_url("someone", url=f"sqlite:///{path}", create_tables=True)
        await session.add_items([{"role": "user", "content": "hello"}])
        await session.aclose()

    asyncio.run(put())
