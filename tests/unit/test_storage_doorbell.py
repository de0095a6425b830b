"""Wake-ups: published from a thread of their own, dropped when nobody takes them."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from tests.fakes.processes import Processes
from tests.fakes.wait import eventually
from turnkeeper_storage import crash_points, doorbell
from turnkeeper_storage.doorbell import EXPIRY_SECONDS, WAKE_TASK, Doorbell, make_celery


@pytest.fixture
def app() -> Iterator[Celery]:
    """A broker within the process."""
    made = make_celery("memory://", f"bells-{uuid4().hex}")
    yield made
    made.close()


def bells(app: Celery) -> list[Any]:
    """The messages that wait in the queue, taken out of it."""
    found = []
    with (
        app.connection_for_read() as connection,
        connection.SimpleQueue(queue_of(app)) as waiting,
        contextlib.suppress(waiting.Empty),
    ):
        while True:
            message = waiting.get(timeout=0.2)
            message.ack()
            found.append(message)
    return found


def named(app: Celery) -> list[str]:
    """The sessions that the bells in the queue name, in order."""
    return [key for message in bells(app) for key in message.payload[0]]


def queue_of(app: Celery) -> str:
    return str(app.conf.task_default_queue)


def test_a_bell_is_a_message_that_names_the_session_only(app: Celery) -> None:
    bell = Doorbell(app, queue_of(app))
    bell.ring("key-of-a-session")
    bell.close()
    (message,) = bells(app)
    assert message.headers["task"] == WAKE_TASK
    assert message.payload[0] == ["key-of-a-session"]
    assert message.payload[1] == {}
    assert message.headers["ignore_result"] is True
    assert message.headers["expires"] is not None
    assert EXPIRY_SECONDS <= 60
    assert message.content_type == "application/json"


def test_closing_publishes_what_waits_in_order(app: Celery) -> None:
    bell = Doorbell(app, queue_of(app))
    for n in range(20):
        bell.ring(f"s{n}")
    bell.close()
    assert named(app) == [f"s{n}" for n in range(20)]


def test_a_bell_can_be_rung_after_it_was_closed(app: Celery) -> None:
    bell = Doorbell(app, queue_of(app))
    bell.ring("first")
    bell.close()
    bell.ring("second")
    bell.close()
    bell.close()
    assert named(app) == ["first", "second"]


def test_what_is_rung_while_a_bell_goes_out_goes_with_the_next(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_publishing, go_on = threading.Event(), threading.Event()

    def wait(point: str) -> None:
        is_publishing.set()
        assert go_on.wait(10)

    crash_points.install(wait)
    monkeypatch.setattr(doorbell, "MOST_KEYS", 3)
    try:
        bell = Doorbell(app, queue_of(app))
        bell.ring("first")
        assert is_publishing.wait(10)
        for name in "abcde":
            bell.ring(name)
        go_on.set()
        bell.close()
    finally:
        crash_points.install(None)
    assert [message.payload[0] for message in bells(app)] == [["first"], ["a", "b", "c"], ["d", "e"]]


async def test_a_broker_that_is_away_holds_up_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        app = make_celery(f"redis://:my-password@127.0.0.1:{taken.getsockname()[1]}/0", "bells")
        bell = Doorbell(app, "bells", timeout=0.5)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, "turnkeeper_storage.doorbell"):
            for n in range(1000):
                bell.ring(f"s{n}")
            assert time.monotonic() - began < 0.4
            await eventually(lambda: "no wake-up was published" in caplog.text)
        bell.close()
        assert time.monotonic() - began < 5
    assert "my-password" not in caplog.text
    app.close()


async def test_a_broker_that_takes_a_connection_and_says_nothing_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        app = make_celery(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "bells")
        bell = Doorbell(app, "bells", timeout=0.2)
        with caplog.at_level(logging.WARNING, "turnkeeper_storage.doorbell"):
            bell.ring("s")
            await eventually(lambda: "no wake-up was published" in caplog.text)
        bell.close()
    app.close()


FORKS = """
import os, sys
from turnkeeper_storage.doorbell import Doorbell, make_celery

bell = Doorbell(make_celery(sys.argv[1], "bells"), "bells")
bell.ring("parent")
bell.close()
bell.ring("parent again")  # its thread runs while the process forks
child = os.fork()
if child == 0:
    bell.ring("child")
    bell.close()
    os._exit(0)
os.waitpid(child, 0)
bell.close()
"""


def test_a_bell_rings_in_a_forked_child_too(redis_url: str, processes: Processes) -> None:
    process = processes(sys.executable, "-c", FORKS, redis_url)
    assert process.wait(30) == 0, process.log
    app = make_celery(redis_url, "bells")
    rung = sorted(message.payload[0][0] for message in bells(app))
    app.close()
    assert rung == ["child", "parent", "parent again"]


def test_the_app_speaks_json_only_and_is_nobodys_default() -> None:
    app = make_celery("memory://", "q")
    assert app.conf.accept_content == ["json"]
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_enable_remote_control is False
    app.close()
