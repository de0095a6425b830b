"""Lazy imports of several threads at once, in an interpreter that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each thread is let go at the same time; what it raises is printed. A short switch interval makes them meet.
TOGETHER = """
import sys, threading
sys.setswitchinterval(1e-5)
from turnkeeper_storage.lazy_imports import import_once
{setup}
gate = threading.Barrier(2)
def begin(work):
    gate.wait()
    try:
        work()
    except BaseException as error:
        print(type(error).__name__, error)
threads = [threading.Thread(target=begin, args=(work,)) for work in (one, other)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("redis.asyncio" in sys.modules, "kombu.transport.redis" in sys.modules)
"""
DOORBELL = """
from turnkeeper_storage.doorbell import _Publisher, make_celery
one = lambda: import_once("redis.asyncio")
other = lambda: _Publisher(make_celery("redis://127.0.0.1:9/0", "q"), "q", 0.1)
"""
CELERYS_OWN = """
import importlib
one = lambda: import_once("redis.asyncio")
other = lambda: importlib.import_module("kombu.transport.redis")
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
        assert (done.stdout, done.stderr) == ("True True\n", "")


def test_a_forked_child_imports_though_the_parent_was_importing() -> None:
    code = (
        "import os, threading\n"
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
