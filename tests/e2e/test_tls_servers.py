"""A whole site on servers that speak TLS themselves and let nobody in without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fakes.certificates import Authority
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.site import Site, ready
from tests.fakes.tls_servers import NoTls, postgres_with_tls, redis_with_tls
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.migrate import read_standing, upgrade_async


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def port(authority: Authority) -> Iterator[int]:
    """Of a PostgreSQL whose certificate says localhost."""
    try:
        with postgres_with_tls(authority.issue("localhost")) as port:
            yield port
    except NoTls as reason:
        pytest.skip(f"NOT RUN: {reason}")


async def test_worker_and_client_come_in_with_tls_and_complete_a_streamed_run(
    port: int, authority: Authority, processes: Processes
) -> None:
    query = f"sslmode=verify-full&sslrootcert={authority.file}"
    url = f"postgresql://postgres@localhost:{port}/postgres?{query}"
    try:
        redis = redis_with_tls(processes, authority.issue("localhost"))
    except NoTls as reason:
        pytest.skip(f"NOT RUN: {reason}")
    await upgrade_async(url)
    async with ScriptedModel(answer=echo) as model:
        broker = f"rediss://localhost:{redis}/0?ssl_ca_certs={authority.file}"
        rare = {"TURNKEEPER_SWEEP_SECONDS": "600", "TURNKEEPER_FAST_RECOVERY": "on"}
        site = Site(processes, url, broker, model.base_url, settings=rare)
        await asyncio.to_thread(ready, site.start_worker())
        async with site.client() as client:
            run = await client.enqueue("s", "Hello", agent="support", stream=True)
            seen = [event.type async for event in run.events()]
            assert "delta.text" in seen
            assert (await run.wait(30)).output == "echo: Hello"
            with psycopg.connect(url) as looking:
                asked = (
                    "SELECT a.application_name, s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
                    " WHERE a.application_name LIKE 'turnkeeper%'"
                )
                found = looking.execute(asked).fetchall()
    assert {name for name, _ in found} == {"turnkeeper", "turnkeeper owner"}
    assert all(is_protected for _, is_protected in found)


async def test_who_comes_without_tls_is_let_in_by_neither_side(port: int, authority: Authority) -> None:
    async def look(query: str) -> None:
        database = Database(f"postgresql://postgres@localhost:{port}/postgres?{query}")
        try:
            await read_standing(database)
        finally:
            await database.aclose()

    await look(f"sslmode=verify-full&sslrootcert={authority.file}")
    with pytest.raises(TurnkeeperError):
        await look("sslmode=disable")
