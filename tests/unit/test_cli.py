"""The command line from the outside: what it prints, where, and its exit code."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text, update

from tests.conformance.parking import Parking
from tests.fakes.parked import work_on
from tests.fakes.processes import Processes
from turnkeeper.cli.main import run
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import HEAD
from turnkeeper_storage.model import AgentRecord, Usage
from turnkeeper_storage.repositories import agents, workers
from turnkeeper_storage.tables import runs
from turnkeeper_storage.unit_of_work import UnitOfWork

DEAD_BROKER = "redis://127.0.0.1:1/0"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli: TypeAlias = Callable[..., Done]


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """A command line with no terminal and no database of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", DEAD_BROKER)
    monkeypatch.setenv("TURNKEEPER_PUBLISH_TIMEOUT", "0.2")

    def call(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = run(arguments)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return call


@pytest.fixture
def cli(anywhere: Cli, migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command line at a migrated database."""
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_url)
    return anywhere


@pytest.fixture
def lite(anywhere: Cli, migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The same, where one database is as good as the other."""
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_sqlite)
    return anywhere


def _enqueue(cli: Cli, session: str = "s", **options: str) -> str:
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return str(cli("runs", "enqueue", session, "Hello", "--agent", "support", "--json", *flags).json["id"])


def test_a_run_is_enqueued_listed_shown_and_cancelled(cli: Cli) -> None:
    enqueued = cli(
        "runs", "enqueue", "s", "Hello", "--agent", "support", "--metadata", '{"order": 7}', "--json"
    )
    assert (enqueued.code, enqueued.err) == (0, "")
    run_id = enqueued.json["id"]
    assert (enqueued.json["status"], enqueued.json["metadata"]) == ("queued", {"order": 7})
    listed = cli("runs", "list", "--json")
    assert listed.json == {"runs": [enqueued.json], "next_cursor": None}
    assert cli("runs", "show", run_id, "--json").json == enqueued.json
    assert cli("runs", "cancel", run_id, "--json").json["status"] == "cancelled"
    assert cli("runs", "list", "--status", "cancelled", "--json").json["runs"][0]["id"] == run_id
    assert cli("runs", "list", "--status", "queued", "--json").json["runs"] == []


def test_a_full_queue_is_told_and_fails(lite: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_MAX_QUEUED_PER_SESSION", "1")
    _enqueue(lite)
    refused = lite("runs", "enqueue", "s", "Hi", "--agent", "support")
    assert refused.code == 1
    assert "session 's' has 1 queued runs, and that is the limit" in refused.err


def test_a_deadline_is_shown(lite: Cli) -> None:
    run_id = _enqueue(lite, **{"deadline-seconds": "60"})
    snapshot = lite("runs", "show", run_id, "--json").json
    assert snapshot["deadline"] > snapshot["created_at"]
    assert f"deadline: {snapshot['deadline'][:10]}" in lite("runs", "show", run_id).out


def test_runs_are_told_to_people(lite: Cli) -> None:
    assert lite("runs", "list").out == "No runs.\n"
    run_id = _enqueue(lite)
    table = lite("runs", "list").out
    assert table.splitlines()[0].split() == ["RUN", "SESSION", "SEQ", "STATUS", "AGENT", "CREATED", "(UTC)"]
    assert run_id in table
    shown = lite("runs", "show", run_id).out
    assert f"run:      {run_id}\n" in shown
    assert "status:   queued\n" in shown
    assert lite("runs", "cancel", run_id).out == f"{run_id} is cancelled.\n"


def test_runs_come_in_pages(lite: Cli) -> None:
    made = sorted((_enqueue(lite, f"s{n}") for n in range(3)), reverse=True)
    first = lite("runs", "list", "--limit", "2", "--json").json
    rest = lite("runs", "list", "--limit", "2", "--cursor", first["next_cursor"], "--json").json
    assert [one["id"] for one in first["runs"] + rest["runs"]] == made
    assert f"More: --cursor {first['next_cursor']}" in lite("runs", "list", "--limit", "2").out


def test_a_tenant_sees_only_its_own(lite: Cli) -> None:
    run_id = _enqueue(lite)
    assert lite("runs", "--tenant", "acme", "list", "--json").json["runs"] == []
    shown = lite("runs", "--tenant", "acme", "show", run_id)
    assert (shown.code, shown.out) == (1, "")
    assert shown.err == f"turnkeeper: there is no run '{run_id}'\n"


def test_the_same_key_gives_the_same_run_and_another_input_a_conflict(lite: Cli) -> None:
    first = _enqueue(lite, **{"idempotency-key": "k"})
    assert _enqueue(lite, **{"idempotency-key": "k"}) == first
    other = lite("runs", "enqueue", "s", "Goodbye", "--agent", "support", "--idempotency-key", "k")
    assert other.code == 1
    assert first in other.err


def test_an_input_comes_from_standard_input_or_a_file(lite: Cli, tmp_path: Path) -> None:
    items = [{"role": "user", "content": "Hello"}]
    (tmp_path / "items.json").write_text(json.dumps(items))
    assert lite("sessions", "add", "s", "-", stdin="From a pipe").code == 0
    assert lite("sessions", "add", "s", "--items", "items.json").code == 0
    assert lite("sessions", "add", "s", "--items", "-", stdin=json.dumps(items)).code == 0
    shown = lite("sessions", "show", "s").out
    assert shown == "user: From a pipe\nuser: Hello\nuser: Hello\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("runs", "enqueue", "s", "--agent", "a"), "give a text or --items FILE"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--items", "x"), "give a text or --items FILE"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--metadata", "{"), "metadata: is no JSON"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--metadata", "[]"), "metadata: is list"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--max-turns", "0"), "max_turns: is 0"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--deadline-seconds", "0"), "deadline_seconds: is 0"),
        (("runs", "enqueue", "s", "Hi", "--agent", "a", "--token-limit", "0"), "token_limit: is 0"),
        (("runs", "enqueue", "s", "Hi", "--agent", ""), "agent: is empty"),
        (("runs", "enqueue", "s", "--agent", "a", "--items", "none.json"), "cannot be read"),
        (("runs", "enqueue", "x" * 256, "Hi", "--agent", "a"), "session_id: has 256 characters"),
        (("runs", "list", "--status", "done"), "use one of: queued, running"),
        (("runs", "list", "--limit", "0"), "limit: is 0"),
        (("runs", "list", "--cursor", "5"), "cursor: is no cursor"),
        (("sessions", "add", "s", "Hi", "--role", "robot"), "use one of: user, assistant"),
        (("sessions", "clear", "s"), "add --yes"),
        (("runs", "--database-url", "mysql://x", "list"), "use postgresql://… or sqlite:///…"),
        (("worker", "pytest"), "'pytest' has no Turnkeeper instance (it is an installed package; run this"),
        (("worker", "no_such_module"), "there is no module 'no_such_module' here"),
        (("worker", "agents.py"), "name the module"),
    ],
    ids=lambda part: " ".join(part)[:50] if isinstance(part, tuple) else "",
)
def test_a_wrong_call_exits_with_2_and_one_line_that_says_what_to_do(
    lite: Cli, arguments: tuple[str, ...], told: str
) -> None:
    done = lite(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("turnkeeper: ")
    assert told in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("runs", "bogus"), ("bogus",), ("runs", "list", "--bogus"), ("runs", "show")]
)
def test_an_unknown_command_or_option_exits_with_2(lite: Cli, arguments: tuple[str, ...]) -> None:
    done = lite(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            (name, "--help")
            for name in ("worker", "migrate", "agents", "workers", "demo", "runs", "sessions")
        ),
        *(("runs", name, "--help") for name in ("list", "show", "cancel", "enqueue")),
        *(("sessions", name, "--help") for name in ("list", "show", "add", "pop", "clear")),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(anywhere: Cli, arguments: tuple[str, ...]) -> None:
    done = anywhere(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage: turnkeeper" in done.out
    assert "\x1b" not in done.out


def test_the_version_is_told(anywhere: Cli) -> None:
    done = anywhere("--version")
    assert done.code == 0
    assert done.out.startswith("turnkeeper 0.")


def test_a_wait_that_is_over_exits_with_1_and_the_run_goes_on(lite: Cli) -> None:
    done = lite("runs", "enqueue", "s", "Hello", "--agent", "support", "--wait", "0.05")
    assert done.code == 1
    assert "is still queued after 0.05 s" in done.err
    assert len(lite("runs", "list", "--json").json["runs"]) == 1


def test_a_history_is_edited_and_shown(cli: Cli) -> None:
    assert cli("sessions", "show", "s").out == "No items.\n"
    cli("sessions", "add", "s", "Hello")
    added = cli("sessions", "add", "s", "Hi there", "--role", "assistant", "--json").json
    assert added["added"] == [{"type": "message", "role": "assistant", "content": "Hi there"}]
    assert cli("sessions", "show", "s").out == "user: Hello\nassistant: Hi there\n"
    assert cli("sessions", "show", "s", "--limit", "1", "--json").json["items"] == added["added"]
    assert cli("sessions", "list", "--json").json["sessions"][0]["items"] == 2
    assert cli("sessions", "pop", "s").out == "assistant: Hi there\n"
    assert cli("sessions", "clear", "s", "--yes").out == "Cleared s.\n"
    assert cli("sessions", "pop", "s", "--json").json == {"id": "s", "popped": None}


def test_a_session_is_shown_with_what_its_runs_have_used(cli: Cli, migrated_url: str) -> None:
    used = Usage(requests=1, input_tokens=12, cached_tokens=3, output_tokens=5, reasoning_tokens=2)
    _set_usage(migrated_url, _enqueue(cli), used)
    assert cli("sessions", "show", "s").out == "No items.\n\nTokens: 12 in, 5 out, 1 model call\n"
    _set_usage(migrated_url, _enqueue(cli), used)
    assert cli("sessions", "show", "s").out.endswith("Tokens: 24 in, 10 out, 2 model calls\n")
    assert cli("sessions", "show", "s", "--json").json["usage"] == (used + used).as_json()
    assert cli("sessions", "show", "another", "--json").json["usage"] == Usage().as_json()


def _set_usage(url: str, run_id: str, usage: Usage) -> None:
    async def work(parking: Parking) -> None:
        statement = update(runs).where(runs.c.id == run_id).values(usage=usage.as_json())
        await parking.sql(statement)

    work_on(url, work)


def test_sessions_are_listed_by_prefix(lite: Cli) -> None:
    for name in ("cust-1", "cust-2", "other"):
        lite("sessions", "add", name, "Hello")
    table = lite("sessions", "list", "--prefix", "cust-").out
    assert [line.split()[0] for line in table.splitlines()] == ["SESSION", "cust-1", "cust-2"]
    page = lite("sessions", "list", "--limit", "1", "--json").json
    assert (page["sessions"][0]["id"], page["next_cursor"]) == ("cust-1", "cust-1")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("y\n", 0)])
def test_on_a_terminal_one_is_asked_before_items_go(
    lite: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, left: int
) -> None:
    lite("sessions", "add", "s", "Hello")
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    code = run(["sessions", "clear", "s"])
    assert "Remove all items of s?" in capsys.readouterr().err
    assert code == (0 if left == 0 else 1)
    assert len(lite("sessions", "show", "s", "--json").json["items"]) == left


def test_registered_agents_are_listed(lite: Cli, migrated_sqlite: str) -> None:
    assert "no worker has registered any" in lite("agents").out
    _register(migrated_sqlite, AgentRecord("support", "d", "turnkeeper", [{"name": "refund"}]))
    (listed,) = lite("agents", "--json").json["agents"]
    assert (listed["name"], listed["queue"], listed["tools"]) == (
        "support",
        "turnkeeper",
        [{"name": "refund"}],
    )
    assert "refund" in lite("agents").out
    unknown = lite("runs", "enqueue", "s", "Hello", "--agent", "sales")
    assert unknown.code == 2
    assert "use one of: support" in unknown.err


def test_workers_are_listed_with_their_slots(lite: Cli, migrated_sqlite: str) -> None:
    assert "none has told of itself" in lite("workers").out
    _in_database(migrated_sqlite, lambda uow: workers.show(uow, "web-1:9f86d081884c7d65:7", "q", 100, 3))
    (listed,) = lite("workers", "--json").json["workers"]
    assert (listed["name"], listed["queue"], listed["slots"], listed["in_flight"], listed["silent"]) == (
        "web-1:9f86d081884c7d65:7",
        "q",
        100,
        3,
        False,
    )
    line = lite("workers").out.splitlines()[1]
    assert line.split()[:5] == ["web-1:9f86d081884c7d65:7", "q", "100", "3", "0"]


def _register(url: str, record: AgentRecord) -> None:
    _in_database(url, lambda uow: agents.register(uow, [record]))


def _in_database(url: str, work: Callable[[UnitOfWork], Awaitable[None]]) -> None:
    async def write() -> None:
        database = Database(url)
        try:
            await database.transact(work)
        finally:
            await database.aclose()

    asyncio.run(write())


def test_a_database_of_a_newer_release_that_fits_is_left_as_it_is(anywhere: Cli, database_url: str) -> None:
    where = ("--database-url", database_url)
    assert anywhere("migrate", *where).code == 0

    async def further() -> None:
        database = Database(database_url)
        newer = text("UPDATE turnkeeper_alembic_version SET version_num = '9999'")
        await database.run_sync(lambda c: c.execute(newer).close())
        await database.aclose()

    asyncio.run(further())
    checked = anywhere("migrate", *where, "--check")
    assert checked.code == 0
    assert checked.out == f"The database is at revision 9999; this code is of {HEAD}, and works on it.\n"
    assert "Nothing to do." in anywhere("migrate", *where).out
    assert anywhere("migrate", *where, "--json").json["current"] == "9999"
    assert anywhere("runs", *where, "list").code == 0


def test_a_database_is_migrated_once_and_checked(anywhere: Cli, database_url: str) -> None:
    where = ("--database-url", database_url)
    before = anywhere("migrate", *where, "--check")
    assert (before.code, before.out) == (1, f"The database is not migrated; this code needs {HEAD}.\n")
    not_yet = anywhere("runs", *where, "list")
    assert (not_yet.code, not_yet.out) == (1, "")
    assert "run `turnkeeper migrate`" in not_yet.err
    first = anywhere("migrate", *where)
    assert first.code == 0
    assert f"Migrated to {HEAD}." in first.out
    again = anywhere("migrate", *where, "--json")
    assert again.json == {"before": HEAD, "current": HEAD, "expected": HEAD, "is_current": True}
    assert "Nothing to do." in anywhere("migrate", *where).out
    assert anywhere("migrate", *where, "--check", "--json").json["is_current"] is True


def test_tables_go_into_the_schema_that_was_named(anywhere: Cli, postgres_database: str) -> None:
    where = ("--database-url", postgres_database)
    assert anywhere("migrate", *where, "--schema", "agents").code == 0
    assert anywhere("migrate", *where, "--schema", "agents", "--check").code == 0
    assert anywhere("migrate", *where, "--check").code == 1


@pytest.mark.parametrize("command", [("runs", "list"), ("migrate",), ("migrate", "--check"), ("agents",)])
def test_a_database_that_is_down_exits_with_1(
    anywhere: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", "postgresql://x:secret-word@127.0.0.1:1/x")
    done = anywhere(*command)
    assert (done.code, done.out) == (1, "")
    assert "TURNKEEPER_DATABASE_URL" in done.err
    assert "secret-word" not in done.err


def test_the_installed_command_runs(processes: Processes, migrated_sqlite: str) -> None:
    command = str(Path(sys.executable).with_name("turnkeeper"))
    environment = {"TURNKEEPER_DATABASE_URL": migrated_sqlite, "TURNKEEPER_BROKER_URL": DEAD_BROKER}
    process = processes(command, "runs", "list", "--json", env=environment)
    assert process.wait(30) == 0
    assert json.loads(process.log) == {"runs": [], "next_cursor": None}
