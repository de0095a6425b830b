"""Client: one AsyncClient behind a loop thread, over threads, forks and the end of the process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine

from tests.fakes.bell import Bell
from tests.fakes.processes import Processes
from tests.fakes.wait import eventually_sync
from turnkeeper_client import Client
from turnkeeper_client.portal import Portal
from turnkeeper_storage import ids
from turnkeeper_storage.errors import TurnkeeperError, WaitTimeout
from turnkeeper_storage.model import RunStatus

DEAD_BROKER = "redis://127.0.0.1:1/0"
THREAD = "turnkeeper-client"


@pytest.fixture
def client(migrated_url: str) -> Iterator[Client]:
    with Client(database_url=migrated_url, doorbell=Bell()) as made:
        yield made


def _loop_threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def test_a_client_does_without_await_what_the_async_one_does(client: Client) -> None:
    handle = client.enqueue("s", "Hello", agent="support", idempotency_key="k")
    assert (handle.session_id, handle.seq, handle.created) == ("s", 1, True)
    assert handle.get().status is RunStatus.QUEUED
    with pytest.raises(WaitTimeout):
        handle.wait(timeout=0)
    assert [run.id for run in client.runs(session_id="s").runs] == [handle.id]
    assert client.sessions().sessions[0].runs == 1
    assert client.agents() == []
    assert handle.cancel().status is RunStatus.CANCELLED
    assert handle.wait().status is RunStatus.CANCELLED


def test_a_session_of_a_client_is_read_and_edited(client: Client) -> None:
    session = client.session("s")
    first, second = {"role": "user", "content": "one"}, {"role": "user", "content": "two"}
    session.add_items([first, second])
    assert session.get_items() == [first, second]
    assert session.get_items(limit=1) == [second]
    assert session.pop_item() == second
    session.clear_session()
    assert session.get_items() == []
    assert session.pop_item() is None


def test_nothing_starts_before_the_first_call(migrated_sqlite: str) -> None:
    before = _loop_threads()
    client = Client(database_url=migrated_sqlite, doorbell=Bell())
    assert _loop_threads() == before
    client.runs()
    assert _loop_threads() == before + 1
    client.close()
    assert _loop_threads() == before


def test_a_client_that_nobody_has_any_more_ends_its_thread(migrated_sqlite: str) -> None:
    before = _loop_threads()
    client = Client(database_url=migrated_sqlite, doorbell=Bell())
    client.runs()
    del client
    eventually_sync(lambda: _loop_threads() == before)


def test_a_closed_client_opens_again(client: Client) -> None:
    handle = client.enqueue("s", "Hello", agent="support")
    client.close()
    client.close()
    assert handle.get().id == handle.id


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(lambda n: client.enqueue("s", f"message {n}", agent="support"), range(24)))
    assert sorted(handle.seq for handle in handles) == list(range(1, 25))


def test_a_synchronous_engine_says_where_the_database_is(migrated_sqlite: str) -> None:
    engine = create_engine(migrated_sqlite)
    with Client(engine=engine, doorbell=Bell()) as client:
        assert client.enqueue("s", "Hello", agent="support").seq == 1
    engine.dispose()


def test_an_interrupt_of_the_waiting_thread_cancels_the_coroutine() -> None:
    portal = Portal()
    began, cancelled = threading.Event(), threading.Event()

    async def forever() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        portal.run(forever(), timeout=0.05)
    assert began.is_set()
    assert cancelled.wait(5)
    portal.close()


def test_a_call_from_the_loop_itself_is_refused_and_does_not_hang() -> None:
    portal = Portal()

    async def inner() -> None: ...

    async def outer() -> None:
        portal.run(inner())

    with pytest.raises(TurnkeeperError, match="use AsyncClient"):
        portal.run(outer())
    portal.close()


FORK = """
import logging, os, sys
from turnkeeper_client import Client

logging.disable()  # the dead broker's lines would fall between ours

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")

client = Client(database_url=sys.argv[1], broker_url=sys.argv[2])
say("parent", client.enqueue("s", "Hello", agent="support").seq)
for _ in range(2):
    child = os.fork()
    if child == 0:
        handle = client.enqueue("s", "Hello", agent="support")
        say("child", handle.seq, handle.get().status.value)
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
say("parent", client.enqueue("s", "Hello", agent="support").seq)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_client_works_in_the_children_of_a_fork_and_in_the_parent(
    migrated_url: str, processes: Processes
) -> None:
    process = processes(sys.executable, "-c", FORK, migrated_url, DEAD_BROKER)
    assert process.wait(60) == 0, process.log
    lines = [line for line in process.log.splitlines() if line.startswith(("parent", "child"))]
    assert lines == ["parent 1", "child 2 queued", "child 3 queued", "parent 4"]
    assert "Traceback" not in process.log
    assert "Warning" not in process.log


FORK_AND_LOOK = """
import os, sys
import psycopg
from turnkeeper_client import Client

def connected():
    with psycopg.connect(sys.argv[1]) as other:
        found = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in found}

client = Client(database_url=sys.argv[1], broker_url="memory://")
client.agents()
before = connected()
for uses_it in (False, True):
    child = os.fork()
    if child == 0:
        if uses_it:
            client.agents()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.agents()
assert before and before <= connected(), (before, connected())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_that_ends_leaves_the_connections_of_its_parent_whole(
    migrated_postgres: str, processes: Processes
) -> None:
    process = processes(sys.executable, "-c", FORK_AND_LOOK, migrated_postgres)
    assert process.wait(60) == 0, process.log
    assert process.log == ""


# how long a step took is said too, and depends on what else the machine does
EXIT = """
import logging
import sys
from turnkeeper_client import Client

logging.getLogger("asyncio").setLevel(logging.ERROR)

client = Client(database_url=sys.argv[1], broker_url=sys.argv[2])
client.enqueue("s", "Hello", agent="support")
"""


def test_a_process_that_ends_without_close_publishes_and_says_nothing(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    import redis

    process = processes(sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, migrated_url, redis_url)
    assert process.wait(60) == 0, process.log
    assert process.log == ""
    with redis.Redis.from_url(redis_url) as broker:
        bells = broker.lrange("turnkeeper", 0, -1)
    assert len(bells) == 1
    assert ids.session_key("default", "s").encode() in bells[0]


INTERRUPT = """
import sys
from turnkeeper_client import Client

with Client(database_url=sys.argv[1], broker_url=sys.argv[2]) as client:
    handle = client.enqueue("s", "Hello", agent="support")
    try:
        print("waiting", flush=True)
        handle.wait()
    except KeyboardInterrupt:
        print("interrupted", client.get(handle.id).status.value, flush=True)
"""


def test_control_c_ends_a_wait_and_the_client_goes_on(migrated_url: str, processes: Processes) -> None:
    import signal

    process = processes(sys.executable, "-c", INTERRUPT, migrated_url, DEAD_BROKER)
    process.wait_for_log("waiting")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0, process.log
    assert "interrupted queued" in process.log
