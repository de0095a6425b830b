"""Lazy imports of several threads at once, in an interpreter that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The broker's thread is held where it is inside of `redis` and about to ask for `redis.asyncio`, until the
# other one waits for a module, or for longer than that takes: then each has what the other one needs.
TOGETHER = """
import sys, threading, time
import _frozen_importlib
from turnkeeper_storage.lazy_imports import import_once
{setup}
inside = threading.Event()
def meet(event, arguments):
    if event == "import" and arguments[0] == "redis.asyncio" and not inside.is_set():
        inside.set()
        limit = time.monotonic() + 0.5
        while live.ident not in _frozen_importlib._blocking_on and time.monotonic() < limit:
            time.sleep(0.001)
def told(work):
    try:
        work()
    except BaseException as error:
        print(type(error).__name__, error)
def events():
    inside.wait(20)
    import_once("redis.asyncio")
live = threading.Thread(target=told, args=(events,))
bell = threading.Thread(target=told, args=(broker,))
sys.addaudithook(meet)
live.start(), bell.start(), live.join(), bell.join()
print(inside.is_set(), "redis.asyncio" in sys.modules, "kombu.transport.redis" in sys.modules)
"""
DOORBELL = """
from turnkeeper_storage.doorbell import _Publisher, make_celery
broker = lambda: _Publisher(make_celery("redis://127.0.0.1:9/0", "q"), "q", 0.1)
"""
CELERYS_OWN = """
import importlib
broker = lambda: importlib.import_module("kombu.transport.redis")
"""


@pytest.mark.parametrize("setup", [DOORBELL, CELERYS_OWN], ids=["the doorbell", "Celery itself"])
def test_live_events_and_the_broker_are_imported_at_once_without_a_deadlock(setup: str) -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", TOGETHER.format(setup=setup)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_a_forked_child_imports_though_the_parent_was_importing() -> None:
    code = (
        "import os, signal, threading\n"
        "from turnkeeper_storage.lazy_imports import import_once, importing\n"
        "inside, go = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with importing():\n"
        "        inside.set()\n"
        "        go.wait(30)\n"
        "thread = threading.Thread(target=hold)\n"
        "thread.start()\n"
        "inside.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(10)\n"
        "    import_once('email.mime.text')\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "go.set()\n"
        "thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
