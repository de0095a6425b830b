"""PostgreSQL over TLS: the authority and the name are checked, and nothing goes on in the clear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.site import Site, ready
from tests.fakes.tls_front import TlsFront
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError, DatabaseUnavailable
from turnkeeper_storage.migrate import read_standing, upgrade_async


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def front(migrated_postgres: str, authority: Authority) -> AsyncIterator[TlsFront]:
    async with TlsFront(migrated_postgres, authority.issue("localhost").context()) as front:
        yield front


async def look(url: str) -> str | None:
    """The revision of a database, read with our engine."""
    database = Database(url)
    try:
        return (await read_standing(database)).revision
    finally:
        await database.aclose()


async def test_a_server_of_a_private_authority_is_reached_by_its_name(
    front: TlsFront, authority: Authority
) -> None:
    url = front.url("postgresql", "localhost", f"sslmode=verify-full&sslrootcert={authority.file}")
    assert await look(url)
    await upgrade_async(url)
    assert front.protected > 0
    assert front.plain == 0


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_another_authority_is_refused_with_what_to_look_at(
    front: TlsFront, tmp_path: Path, mode: str
) -> None:
    other = Authority(tmp_path, "another authority")
    url = front.url("postgresql", "localhost", f"sslmode={mode}&sslrootcert={other.file}")
    with pytest.raises(DatabaseUnavailable, match=r"certificate is not trusted \(.+\); check sslrootcert"):
        await look(url)
    assert front.plain == 0


async def test_another_name_is_refused_with_verify_full_and_only_there(
    front: TlsFront, authority: Authority
) -> None:
    query = f"sslrootcert={authority.file}"
    with pytest.raises(DatabaseUnavailable, match="certificate is not trusted"):
        await look(front.url("postgresql", "127.0.0.1", f"sslmode=verify-full&{query}"))
    assert await look(front.url("postgresql", "127.0.0.1", f"sslmode=verify-ca&{query}"))
    assert front.plain == 0


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(
    migrated_postgres: str, authority: Authority, mode: str
) -> None:
    context = authority.issue("localhost").context()
    async with TlsFront(migrated_postgres, context, speaks_tls=False) as front:
        url = front.url("postgresql", "localhost", f"sslmode={mode}&sslrootcert={authority.file}")
        with pytest.raises(DatabaseUnavailable, match="the database speaks no TLS"):
            await look(url)
        assert front.plain == 0


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=verify", "sslmode is none of disable, allow"),
        ("sslmode=verify-full", "needs sslrootcert=FILE"),
        ("sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert: /nowhere/ca.pem cannot be read"),
    ],
)
async def test_what_cannot_be_meant_is_told_before_anything_is_opened(
    migrated_postgres: str, query: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        await look(f"postgresql://user@localhost/name?{query}")


async def test_a_worker_with_its_lock_works_over_tls_alone(
    front: TlsFront, authority: Authority, redis_url: str, processes: Processes
) -> None:
    url = front.url("postgresql", "localhost", f"sslmode=verify-full&sslrootcert={authority.file}")
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, url, redis_url, model.base_url, settings={"TURNKEEPER_FAST_RECOVERY": "on"})
        await asyncio.to_thread(ready, site.start_worker())
        async with site.client() as client:
            run = await client.enqueue("s", "Hello", agent="support")
            assert (await run.wait(30)).output == "echo: Hello"
    assert front.plain == 0
