"""Least-privilege roles of PostgreSQL: each kind of process can do its work in its own, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.roles import RoleSite, roles_made
from tests.fakes.site import Site, start_model
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from tests.unit.test_cli import Cli, anywhere
from turnkeeper_api import create_app
from turnkeeper_client import AsyncClient, RunSnapshot
from turnkeeper_storage.errors import ConfigurationError, NotFound
from turnkeeper_storage.items import Json, user_message
from turnkeeper_storage.migrate import grant, upgrade
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.roles import RIGHTS
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.tables import metadata
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

__all__ = ["anywhere"]  # a fixture
CALL = ("pay", {"amount": 7})


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool(idempotent=False)
async def send(amount: int) -> str:
    """Pay, and ask nobody."""
    return f"sent {amount}"


SUPPORT = Agent(name="support", model="gpt-5.2", tools=[pay, send])


@pytest.fixture
def site(postgres_database: str) -> Iterator[RoleSite]:
    """Roles that were made by a superuser, tables by their owner."""
    with roles_made(postgres_database) as made:
        upgrade(made.as_role("migrate"))
        grant(made.as_role("migrate"), made.prefix)
        yield made


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest.fixture
async def worker(site: RoleSite, model: ScriptedModel) -> AsyncIterator[Worker]:
    """A worker in its role, that sweeps often enough for a test to wait for it."""
    url = site.as_role("worker")
    async with running_worker(
        url,
        model,
        agents=[SUPPORT],
        sweep_seconds=0.2,
        session_retention_seconds=3600.0,
        audit_retention_seconds=7200.0,
    ) as worker:
        yield worker


@pytest.fixture
async def web(site: RoleSite, worker: Worker) -> AsyncIterator[AsyncClient]:
    """The client of a web backend in its role."""
    settings = load_settings(database_url=site.as_role("web"), broker_url="memory://")
    async with AsyncClient(settings=settings, doorbell=worker.bell) as client:
        yield client


async def parked(web: AsyncClient, model: ScriptedModel, session: str) -> tuple[str, str]:
    """(run, approval) of a run that waits for a person."""
    model.script(replies.calls(CALL))
    run = await web.enqueue(session, "Pay 7", agent="support")
    (approval,) = (await run.wait(20)).approvals
    return run.id, approval.id


async def ended(web: AsyncClient, run: str) -> RunSnapshot:
    """The run once it waits for nobody any more."""
    await eventually(lambda: _is_terminal(web, run), within=20)
    return await web.get(run)


async def _is_terminal(web: AsyncClient, run: str) -> bool:
    return (await web.get(run)).status.is_terminal


async def test_web_and_worker_take_a_run_from_its_message_to_its_end(
    web: AsyncClient, model: ScriptedModel
) -> None:
    model.script(replies.calls(("send", {"amount": 3})), replies.text("done"))
    run = await web.enqueue("s", "Send 3", agent="support", stream=True, idempotency_key="k")
    assert [event.type async for event in run.events()][-1] == "run.completed"
    assert (await run.wait(20)).output == "done"
    assert [one.id for one in (await web.runs()).runs] == [run.id]
    assert [one.name for one in await web.agents()] == ["support"]
    assert (await web.usage("s")).requests == 2
    assert (await web.run_record(run.id)).turns
    assert (await web.overview()).holdings is not None
    assert (await web.readiness()).database == "ok"


async def test_web_decides_and_worker_goes_on(web: AsyncClient, model: ScriptedModel) -> None:
    run, approval = await parked(web, model, "approved")
    await web.add_input(run, "And be quick")
    model.script(replies.text("paid"))
    await web.approve(approval, by="ana", sticky=True, note="checked")
    assert (await web.wait(run, 20)).output == "paid"
    run, approval = await parked(web, model, "edited")
    model.script(replies.text("paid less"))
    await web.approve(approval, by="ana", arguments='{"amount": 1}')
    assert (await web.wait(run, 20)).output == "paid less"
    run, approval = await parked(web, model, "rejected")
    model.script(replies.text("not paid"))
    await web.reject(approval, by="ana", reason="no")
    assert (await web.wait(run, 20)).output == "not paid"


async def test_web_cancels_and_supersedes_what_waits(web: AsyncClient, model: ScriptedModel) -> None:
    run, _ = await parked(web, model, "cancelled")
    assert (await web.cancel(run)).status is RunStatus.CANCELLED
    run, _ = await parked(web, model, "superseded")
    model.script(replies.text("instead"))
    newer = await web.enqueue("superseded", "Rather not", agent="support", on_paused="supersede")
    assert (await newer.wait(20)).output == "instead"
    assert (await web.get(run)).status is RunStatus.CANCELLED


async def test_web_edits_exports_repairs_and_deletes_sessions(web: AsyncClient, worker: Worker) -> None:
    session = web.session("edited")
    await session.add_items([user_message("one"), user_message("two"), user_message("three")])
    assert await session.pop_item() is not None
    await web.update_session("edited", owner="ana", metadata={"a": 1}, retention_seconds=60, by="ana")
    assert len([line async for line in web.export_session("edited")]) >= 2
    assert (await web.check_session("edited")) is not None
    assert [one.id for one in (await web.sessions()).sessions] == ["edited"]
    await session.clear_session()
    assert len((await web.session_edits()).edits) >= 3
    await web.delete_session("edited", by="ana")
    with pytest.raises(NotFound):
        await web.session_info("edited")


async def test_worker_expires_ends_deadlines_and_deletes_what_is_kept_no_longer(
    site: RoleSite, web: AsyncClient, worker: Worker, model: ScriptedModel
) -> None:
    run, approval = await parked(web, model, "expires")
    overdue, _ = await parked(web, model, "overdue")
    model.script(replies.text("too late"))
    await web.session("old").add_items([user_message("hello")])
    with psycopg.connect(site.url, autocommit=True) as past:
        ago = "clock_timestamp() - interval '1 day'"
        past.execute(f"UPDATE turnkeeper_approvals SET expires_at = {ago} WHERE id = '{approval}'".encode())
        past.execute(f"UPDATE turnkeeper_runs SET deadline = {ago} WHERE id = '{overdue}'".encode())
        past.execute(f"UPDATE turnkeeper_sessions SET updated_at = {ago} WHERE id = 'old'".encode())
    assert (await ended(web, run)).output == "too late"
    late = await ended(web, overdue)
    assert late.error is not None
    assert late.error.code == "deadline_exceeded"

    async def is_gone() -> bool:
        return "old" not in [one.id for one in (await web.sessions()).sessions]

    await eventually(is_gone, within=20)


async def test_the_api_serves_a_key_that_an_operator_made(
    site: RoleSite, web: AsyncClient, worker: Worker, model: ScriptedModel
) -> None:
    settings = load_settings(database_url=site.as_role("operator"), broker_url="memory://")
    async with AsyncClient(settings=settings, doorbell=worker.bell) as operator:
        key = await operator.create_api_key("ana", ["runs", "sessions"])
        transport = httpx2.ASGITransport(app=create_app(client=web))
        headers = {"Authorization": f"Bearer {key.text}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as ana:
            model.script(replies.text("Hello"))
            body: dict[str, Json] = {"session_id": "s", "input": "Hi", "agent": "support"}
            run = (await ana.post("/v1/runs", json=body)).json()
            await web.wait(run["id"], 20)
            assert (await ana.get(f"/v1/runs/{run['id']}")).json()["output"] == "Hello"
            await operator.revoke_api_key(key.key.id)
            assert (await ana.get("/v1/runs")).status_code == 401


async def test_an_operator_puts_a_parked_run_in_and_web_cannot(
    site: RoleSite, web: AsyncClient, worker: Worker, model: ScriptedModel
) -> None:
    run, _ = await parked(web, model, "moves")
    document = await web.export_state(run)
    await web.delete_session("moves", by="ana")
    with pytest.raises(ConfigurationError, match="the role in TURNKEEPER_DATABASE_URL may not do this"):
        await web.import_state(document)
    settings = load_settings(database_url=site.as_role("operator"), broker_url="memory://")
    async with AsyncClient(settings=settings, doorbell=worker.bell) as operator:
        moved = await operator.import_state(document)
        model.script(replies.text("paid elsewhere"))
        await web.approve(moved.approvals[0].id, by="ana")
        assert (await web.wait(moved.id, 20)).output == "paid elsewhere"


async def test_worker_ends_what_the_audit_keeps_no_longer(
    site: RoleSite, web: AsyncClient, worker: Worker
) -> None:
    await web.update_session("edited", owner="ana", by="ana")
    with psycopg.connect(site.url, autocommit=True) as past:
        past.execute(b"UPDATE turnkeeper_session_edits SET created_at = created_at - interval '1 day'")

    async def is_empty() -> bool:
        return not (await web.session_edits()).edits

    await eventually(is_empty, within=20)


async def test_an_operator_erases_a_person_and_web_cannot(
    site: RoleSite, web: AsyncClient, worker: Worker, model: ScriptedModel
) -> None:
    await parked(web, model, "ana")
    with pytest.raises(ConfigurationError, match="the role in TURNKEEPER_DATABASE_URL may not do this"):
        await web.erase(session_id="ana", by="ben")
    settings = load_settings(database_url=site.as_role("operator"), broker_url="memory://")
    async with AsyncClient(settings=settings, doorbell=worker.bell) as operator:
        key = await operator.create_api_key("ana", ["runs"])
        erased = await operator.erase(session_id="ana", by="ben")
        assert erased.sessions == 1
        await operator.delete_api_key(key.key.id)
    with pytest.raises(NotFound):
        await web.session_info("ana")


async def test_workers_in_their_role_see_each_other_die_by_their_locks(
    site: RoleSite, redis_url: str, processes: Processes
) -> None:
    model = await asyncio.to_thread(start_model, processes, "--latency", "1")
    settings = {
        "TURNKEEPER_FAST_RECOVERY": "on",
        "TURNKEEPER_LEASE_SECONDS": "600",
        "TURNKEEPER_RECOVERY_SECONDS": "0.2",
    }
    place = Site(processes, site.as_role("worker"), redis_url, model, settings=settings)
    first, _ = await asyncio.to_thread(place.workers, 2)
    settled = load_settings(
        database_url=site.as_role("web"), broker_url=redis_url, queue=place.queue, lease_seconds=600
    )
    async with AsyncClient(settings=settled) as web:
        runs = [await web.enqueue(f"s{n}", "Hello", agent="support") for n in range(20)]
        first.kill9()
        # without the locks nobody takes what it held before ten minutes are over
        ended = [await run.wait(60) for run in runs]
    assert [one.output for one in ended] == ["echo: Hello"] * 20


FORBIDDEN = {
    "web": [
        "INSERT INTO turnkeeper_turns (session_key, run_id, turn, items, usage, epoch, created_at)"
        " VALUES ('k', 'r', 1, '[]', '{}', 1, now())",
        "UPDATE turnkeeper_turns SET items = '[]'",
        "UPDATE turnkeeper_session_items SET data = ''",
        "UPDATE turnkeeper_runs SET output = '1'",
        "UPDATE turnkeeper_runs SET input = '1'",
        "UPDATE turnkeeper_runs SET seq = 1",
        "UPDATE turnkeeper_tool_calls SET name = 'other'",
        "UPDATE turnkeeper_approvals SET arguments = '{}'",
        "UPDATE turnkeeper_approvals SET arguments_digest = ''",
        "UPDATE turnkeeper_agents SET digest = ''",
        "DELETE FROM turnkeeper_workers",
        "DELETE FROM turnkeeper_session_edits",
        "INSERT INTO turnkeeper_api_keys (id, tenant, name, scopes, secret_hash, created_at)"
        " VALUES ('k', 't', 'n', '[]', 'h', now())",
        "UPDATE turnkeeper_api_keys SET secret_hash = ''",
        "UPDATE turnkeeper_api_keys SET revoked_at = NULL",
    ],
    "worker": [
        "SELECT secret_hash FROM turnkeeper_api_keys",
        "INSERT INTO turnkeeper_api_keys (id, tenant, name, scopes, secret_hash, created_at)"
        " VALUES ('k', 't', 'n', '[]', 'h', now())",
        "UPDATE turnkeeper_session_items SET data = ''",
        "UPDATE turnkeeper_turns SET items = '[]'",
        "UPDATE turnkeeper_run_events SET data = '{}'",
        "UPDATE turnkeeper_approvals SET arguments = '{}'",
    ],
    "operator": [
        "UPDATE turnkeeper_api_keys SET secret_hash = ''",
        "UPDATE turnkeeper_turns SET items = '[]'",
        "UPDATE turnkeeper_agents SET digest = ''",
    ],
}
FORBIDDEN_TO_ALL = [
    "ALTER TABLE turnkeeper_runs ADD COLUMN more text",
    "DROP TABLE turnkeeper_runs",
    "TRUNCATE turnkeeper_runs",
    "CREATE TABLE public.turnkeeper_more (a int)",
    "CREATE INDEX ON turnkeeper_runs (agent)",
    "UPDATE turnkeeper_session_edits SET edited_by = 'nobody'",
    "UPDATE turnkeeper_compatibility SET oldest_code = '9999'",
    "UPDATE turnkeeper_alembic_version SET version_num = '9999'",
    "COPY turnkeeper_runs TO PROGRAM 'true'",
    "CREATE ROLE tk_another",
]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_a_role_can_do_no_more_than_its_work(site: RoleSite, kind: str) -> None:
    with psycopg.connect(site.as_role(kind), autocommit=True) as connection:
        for statement in [*FORBIDDEN[kind], *FORBIDDEN_TO_ALL, f"SET ROLE {site.prefix}_migrate"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_every_role_says_something_of_every_table() -> None:
    for kind, rights in RIGHTS.items():
        assert set(rights) == set(metadata.tables), kind


def test_a_grant_takes_away_what_is_more_and_is_safe_to_repeat(site: RoleSite) -> None:
    web = f"{site.prefix}_web"
    with psycopg.connect(site.as_role("migrate"), autocommit=True) as owner:
        owner.execute(f"GRANT INSERT, UPDATE (items) ON turnkeeper_turns TO {web}".encode())
        for _ in range(2):
            grant(site.as_role("migrate"), site.prefix)
        for right, column in (("INSERT", "turn"), ("UPDATE", "items")):
            asked = f"SELECT has_column_privilege('{web}', 'turnkeeper_turns', '{column}', '{right}')"
            assert owner.execute(asked.encode()).fetchone() == (False,)


def test_grants_at_once_take_turns(site: RoleSite) -> None:
    url = site.as_role("migrate")
    with ThreadPoolExecutor(4) as threads:
        several = [threads.submit(grant, url, site.prefix) for _ in range(8)]
    assert [one.result() for one in several] == [None] * 8


def test_the_commands_make_the_roles_and_grant_in_a_schema_of_their_own(
    anywhere: Cli, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_DB_SCHEMA", "agents")
    with roles_made(postgres_database, "agents") as site:
        monkeypatch.setenv("TURNKEEPER_DATABASE_URL", postgres_database)
        printed = anywhere("roles", "--prefix", site.prefix)
        assert printed.code == 0
        assert postgres_database not in printed.out
        with psycopg.connect(postgres_database, autocommit=True) as superuser:
            superuser.execute(printed.out.encode())  # safe to repeat
        monkeypatch.setenv("TURNKEEPER_DATABASE_URL", site.as_role("migrate"))
        assert anywhere("migrate", "--grant", site.prefix).code == 0
        granted = anywhere("roles", "--grants", "--prefix", site.prefix).out
        with psycopg.connect(site.as_role("migrate"), autocommit=True) as owner:
            owner.execute(granted.encode())
        monkeypatch.setenv("TURNKEEPER_DATABASE_URL", site.as_role("web"))
        assert anywhere("runs", "list").out == "No runs.\n"
        refused = anywhere("keys", "create", "ana", "--scope", "runs")
        assert (refused.code, "may not do this" in refused.err) == (2, True)
        monkeypatch.setenv("TURNKEEPER_DATABASE_URL", site.as_role("operator"))
        assert anywhere("keys", "create", "ana", "--scope", "runs").code == 0


def test_what_has_no_roles_is_told(
    anywhere: Cli, migrated_postgres: str, migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_postgres)
    missing = anywhere("migrate", "--grant", "tk_nobody")
    assert (missing.code, "are not all there" in missing.err) == (2, True)
    assert anywhere("roles", "--prefix", "x" * 60).code == 2
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_sqlite)
    for command in (("roles",), ("migrate", "--grant", "turnkeeper")):
        told = anywhere(*command)
        assert (told.code, "PostgreSQL" in told.err) == (2, True)
