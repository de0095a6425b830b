"""`/livez` and `/readyz`: for whoever asks, without a credential and without secrets."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tests.fakes.api import caller, calling, told
from tests.fakes.bell import Bell
from turnkeeper_api import create_app
from turnkeeper_client import AsyncClient
from turnkeeper_storage.migrate import HEAD, upgrade
from turnkeeper_storage.settings import Settings, load_settings

NOBODY = {"X-Nothing": "1"}


async def looked(settings: Settings) -> httpx2.Response:
    """What `/readyz` answers with a real bell."""
    async with (
        AsyncClient(settings=settings) as client,
        caller(create_app(client=client, authenticate=told), NOBODY) as anybody,
    ):
        return await anybody.get("/readyz")


async def test_a_process_lives_whatever_else_is_gone() -> None:
    async with calling("postgresql://nobody@127.0.0.1:9/nothing", NOBODY) as anybody:
        answer = await anybody.get("/livez")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_it_is_ready_with_database_migrations_and_broker(migrated_url: str, redis_url: str) -> None:
    answer = await looked(load_settings(database_url=migrated_url, broker_url=redis_url))
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "broker": "ok"},
    }


async def test_a_database_that_is_not_migrated_is_not_ready(sqlite_url: str) -> None:
    answer = await looked(load_settings(database_url=sqlite_url, broker_url="memory://"))
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok",
        "migrations": f"not migrated, this code needs {HEAD}",
        "broker": "ok",
    }


async def test_a_process_whose_broker_is_away_still_accepts_runs_and_says_so(migrated_url: str) -> None:
    answer = await looked(load_settings(database_url=migrated_url, broker_url="redis://127.0.0.1:9/0"))
    told = answer.json()
    assert (answer.status_code, told["status"]) == (200, "degraded")
    assert told["checks"].pop("broker").startswith("does not answer")
    assert told["checks"] == {"database": "ok", "migrations": "ok"}


async def test_what_does_not_answer_is_named_without_where_it_is(sqlite_url: str) -> None:
    settings = load_settings(
        database_url="postgresql://ana:geheim@127.0.0.1:9/nothing", broker_url="redis://:geheim@127.0.0.1:9/0"
    )
    answer = await looked(settings)
    checks = answer.json()["checks"]
    assert (answer.status_code, checks["migrations"]) == (503, "unknown")
    assert checks["database"] == "does not answer (DatabaseUnavailable)"
    assert checks["broker"].startswith("does not answer")
    assert "geheim" not in answer.text
    assert "127.0.0.1" not in answer.text


async def test_a_database_that_is_migrated_meanwhile_becomes_ready(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_api.routes.health.FRESH_SECONDS", 0.0)
    settings = load_settings(database_url=sqlite_url, broker_url="memory://")
    async with (
        AsyncClient(settings=settings, doorbell=Bell()) as client,
        caller(create_app(client=client, authenticate=told), NOBODY) as anybody,
    ):
        assert (await anybody.get("/readyz")).status_code == 503
        await asyncio.to_thread(upgrade, sqlite_url)
        assert (await anybody.get("/readyz")).status_code == 200
