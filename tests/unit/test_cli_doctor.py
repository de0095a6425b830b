"""`turnkeeper doctor`: what it finds on a well installation, and on one where something is wrong."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import literal, update

from tests.conformance.desk import Desk
from tests.fakes import databases
from tests.fakes.parked import work_on
from tests.unit.test_cli import DEAD_BROKER, Cli, anywhere
from turnkeeper.doctor.checkup import Patient, check_names, examine
from turnkeeper.doctor.findings import Finding, Level, fail, in_thread, ok, place, within
from turnkeeper.practice.server import PracticeServer
from turnkeeper_client.portal import Portal
from turnkeeper_storage.migrate import HEAD
from turnkeeper_storage.model import AgentRecord
from turnkeeper_storage.repositories import agents
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import agents as agents_table
from turnkeeper_storage.tables import approvals, sessions

__all__ = ["anywhere"]  # a fixture
MODULE = """
from turnkeeper import Agent, Turnkeeper
turnkeeper = Turnkeeper(agents=[Agent(name="support", model="gpt-5.2")], broker_url="memory://")
"""


@pytest.fixture
def model_url() -> Iterator[str]:
    portal = Portal()
    server = PracticeServer(require_key="good")
    portal.run(server.start())
    yield server.base_url
    portal.run(server.stop())
    portal.close()


@pytest.fixture
def well(
    anywhere: Cli, migrated_url: str, model_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """A command line on an installation that lacks nothing but workers."""
    monkeypatch.delenv("TURNKEEPER_TEST_SERVERS", raising=False)
    for name, value in {
        "TURNKEEPER_DATABASE_URL": migrated_url,
        "TURNKEEPER_BROKER_URL": redis_url,
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "good",
    }.items():
        monkeypatch.setenv(name, value)
    return anywhere


def levels(found: list[dict[str, Any]]) -> dict[str, str]:
    """The worst level of each check."""
    order = ["ok", "warn", "fail"]
    worst: dict[str, str] = {}
    for one in found:
        worst[one["check"]] = max(worst.get(one["check"], "ok"), one["level"], key=order.index)
    return worst


def of(check: str, found: list[dict[str, Any]]) -> str:
    """What is said of a check, and the remedies."""
    return "; ".join(f"{one['text']} → {one['remedy']}" for one in found if one["check"] == check)


def register(url: str, digest: str = "digest") -> None:
    record = AgentRecord("support", digest, "turnkeeper", [])
    work_on(url, lambda desk: desk.database.transact(lambda uow: agents.register(uow, [record])))


def test_a_well_installation_is_ok_in_every_line(well: Cli, migrated_url: str) -> None:
    register(migrated_url)
    done = well("doctor", "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert set(levels(done.json["findings"]).values()) == {"ok"}
    checks = {"settings", "database", "migrations", "agents", "sessions", "queue", "approvals", "broker"}
    assert checks | {"redis", "model"} <= set(levels(done.json["findings"]))
    told = well("doctor").out
    assert f"ok    migrations  at revision {HEAD}\n" in told
    assert "seen: support " in told


def test_agents_that_were_not_seen_for_long_mean_that_no_worker_lives(well: Cli, migrated_url: str) -> None:
    register(migrated_url)
    long_ago = update(agents_table).values(seen_at=after(literal(-600.0, type_=SECONDS)))
    work_on(migrated_url, lambda desk: desk.sql(long_ago))
    found = well("doctor", "--json").json["findings"]
    assert levels(found)["agents"] == "warn"
    assert "seen: support 10 min ago → no worker lives" in of("agents", found)


def test_a_module_is_held_against_what_workers_registered(
    well: Cli, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "doctored.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "doctored", raising=False)
    assert "no worker has registered any" in of(
        "agents", well("doctor", "doctored", "--json").json["findings"]
    )
    register(migrated_url)
    done = well("doctor", "doctored", "--json")
    assert "support is another version than workers registered" in of("agents", done.json["findings"])
    assert done.code == 0
    missing = well("doctor", "no_such_module")
    assert (missing.code, "there is no module 'no_such_module'" in missing.out) == (1, True)


def test_a_dead_installation_fails_in_every_part_and_keeps_its_secrets(
    anywhere: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", "postgresql://x:secret-word@127.0.0.1:1/x")
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "redis://:secret-word@127.0.0.1:1/0?password=secret-word")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret-word@127.0.0.1:1/v1")
    done = anywhere("doctor", "--json")
    assert done.code == 1
    found = levels(done.json["findings"])
    assert {check for check, level in found.items() if level == "fail"} == {
        "database",
        "broker",
        "redis",
        "model",
    }
    assert all(one["remedy"] for one in done.json["findings"] if one["level"] == "fail")
    assert "secret-word" not in done.out + done.err


def test_a_database_that_is_not_migrated_is_told_so(anywhere: Cli, database_url: str) -> None:
    done = anywhere("doctor", "--database-url", database_url, "--broker-url", DEAD_BROKER, "--json")
    assert done.code == 1
    assert "run `turnkeeper migrate`" in of("database", done.json["findings"])


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """A model server that answers everything with one status; its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test tells what it sees."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "level", "told"),
    [
        (401, "fail", "refuses the key (401)"),
        (403, "fail", "refuses the key (403)"),
        (404, "ok", "it lists no models"),
        (500, "fail", "answers 500"),
    ],
)
def test_what_the_model_server_says_to_the_key_is_told(
    well: Cli,
    monkeypatch: pytest.MonkeyPatch,
    answering: Callable[[int], str],
    status: int,
    level: str,
    told: str,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", answering(status))
    done = well("doctor", "--json")
    assert (levels(done.json["findings"])["model"], done.code) == (level, int(level == "fail"))
    assert told in of("model", done.json["findings"])
    assert "good" not in of("model", done.json["findings"])


def test_without_a_key_the_model_is_not_asked(well: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    done = well("doctor", "--json")
    assert (done.code, levels(done.json["findings"])["model"]) == (0, "warn")


def test_a_wrong_setting_is_the_only_finding(anywhere: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_LEASE_SECONDS", "soon")
    done = anywhere("doctor", "--json")
    assert done.code == 1
    (finding,) = done.json["findings"]
    assert "TURNKEEPER_LEASE_SECONDS" in finding["text"]


def test_a_variable_that_is_no_setting_is_named() -> None:
    (finding,) = check_names({"TURNKEEPER_LEASE_SECOND": "5", "TURNKEEPER_QUEUE": "q", "HOME": "/"})
    assert (finding.level, finding.text) == (Level.WARN, "TURNKEEPER_LEASE_SECOND: no such setting")
    assert check_names({"TURNKEEPER_QUEUE": "q"}) == [ok("settings", "valid")]


def test_work_that_nobody_takes_is_a_failure_once_a_sweep_has_passed(well: Cli, migrated_url: str) -> None:
    run_id = work_on(migrated_url, lambda desk: desk.enqueue()).run.id
    fresh = well("doctor", "--json")
    assert fresh.code == 0
    assert f"1 wait for their turn; the oldest ({run_id})" in of("queue", fresh.json["findings"])
    work_on(migrated_url, lambda desk: age(desk, 120))
    done = well("doctor", "--json")
    assert done.code == 1
    assert "1 can run and nobody holds them; the oldest (s) since 2 min" in of(
        "sessions", done.json["findings"]
    )


async def age(desk: Desk, seconds: float) -> None:
    """The session could run since so many seconds."""
    await desk.sql(update(sessions).values(runnable_since=after(literal(-seconds, type_=SECONDS))))


def test_a_session_that_a_worker_holds_is_not_stuck(well: Cli, migrated_url: str) -> None:
    async def hold(desk: Desk) -> None:
        await desk.enqueue()
        await desk.take()
        await age(desk, 120)

    work_on(migrated_url, hold)
    assert levels(well("doctor", "--json").json["findings"])["sessions"] == "ok"


def test_approvals_past_their_time_mean_that_nobody_sweeps(well: Cli, migrated_url: str) -> None:
    parked = work_on(migrated_url, lambda parking: parking.parked(expires_in=60))
    waiting = well("doctor", "--json")
    assert waiting.code == 0
    assert "1 wait for a person" in of("approvals", waiting.json["findings"])
    work_on(migrated_url, lambda parking: expire_long_ago(parking, parked.approvals[0].id))
    done = well("doctor", "--json")
    assert done.code == 1
    assert "are past their time and still open" in of("approvals", done.json["findings"])


async def expire_long_ago(desk: Desk, approval_id: str) -> None:
    over = update(approvals).where(approvals.c.id == approval_id)
    await desk.sql(over.values(expires_at=after(literal(-600.0, type_=SECONDS))))


def test_another_isolation_level_of_the_role_is_warned_of(well: Cli, migrated_postgres: str) -> None:
    name = sql.Identifier(databases.database_name(migrated_postgres))
    with psycopg.connect(migrated_postgres, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'").format(name)
        )
    done = well("doctor", "--database-url", migrated_postgres, "--json")
    assert levels(done.json["findings"])["isolation"] == "warn"
    assert "repeatable read" in of("isolation", done.json["findings"])


async def test_a_server_that_says_nothing_costs_no_more_than_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = load_settings(
            database_url=f"postgresql://user@127.0.0.1:{port}/name",
            broker_url=f"redis://127.0.0.1:{port}/0",
            openai_base_url=f"http://127.0.0.1:{port}/v1",
        )
        async with asyncio.timeout(8):
            found = await examine(Patient(settings), seconds=0.5)
    failed = {one.check for one in found if one.level is Level.FAIL}
    assert failed == {"database", "broker", "redis", "model"}
    assert all("no answer within 0.5 s" in one.text for one in found if one.level is Level.FAIL)


async def test_what_a_library_raises_is_a_finding_without_its_text() -> None:
    async def work() -> list[Finding]:
        raise ValueError("secret-word")

    assert await within(5, "part", "look", work()) == [fail("part", "does not work (ValueError)", "look")]


async def test_a_blocking_function_gives_its_result_or_its_error() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


def test_a_place_holds_neither_user_nor_password() -> None:
    assert place("redis://u:p@host:1/0?password=p;redis://b") == "redis://host:1/0"
    assert place("sqlite:///turnkeeper.db") == "sqlite:///turnkeeper.db"


def test_how_soon_the_runs_of_a_killed_worker_go_on_is_told(
    well: Cli, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(**wanted: str) -> tuple[str, str]:
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        found = well("doctor", "--json").json["findings"]
        return levels(found)["recovery"], of("recovery", found)

    has_locks = migrated_url.startswith("postgresql")
    level, text = told()
    assert level == "ok"
    assert ("within seconds" if has_locks else "SQLite: the runs of a killed worker") in text
    level, text = told(TURNKEEPER_FAST_RECOVERY="on")
    assert level == ("ok" if has_locks else "fail")
    assert "within 30 s" not in told(TURNKEEPER_FAST_RECOVERY="off", TURNKEEPER_LEASE_SECONDS="20")[1]
    if has_locks:
        monkeypatch.setattr("asyncpg.Connection.get_server_pid", lambda _: 1)  # as a pooler answers
        level, text = told(TURNKEEPER_FAST_RECOVERY="auto")
        assert level == "warn"
        assert "a pooler is between worker and database" in text
        assert "set TURNKEEPER_DIRECT_DATABASE_URL" in text
