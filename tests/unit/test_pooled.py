"""PostgreSQL through PgBouncer: nothing rests on a session, and what needs one goes around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conformance.desk import Desk
from tests.fakes import databases
from tests.fakes.pgbouncer import PgBouncer
from turnkeeper.cli.main import run
from turnkeeper.doctor.database import check_database
from turnkeeper.doctor.findings import Finding
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import ConfigurationError, PoolerBetween
from turnkeeper_storage.migrate import HEAD, current_revision, upgrade_async
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.owner_names import lock_key
from turnkeeper_storage.repositories import owners
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.tables import agents
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.presence import present

Poolers = Callable[..., PgBouncer]
# what operators write to let drivers in whose settings a pooler cannot keep
SWALLOWED = (
    "lock_timeout, idle_in_transaction_session_timeout, tcp_keepalives_idle, tcp_keepalives_interval, "
    "tcp_keepalives_count"
)
LIMITS = text(
    "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
)


@pytest.fixture
def pooled_url(poolers: Poolers, migrated_postgres: str) -> str:
    """A migrated database behind a PgBouncer with one backend."""
    return poolers(default_pool_size="1").url(migrated_postgres)


def settings(url: str, **more: object) -> Settings:
    return load_settings(database_url=url, broker_url="memory://", **more)


async def limits(uow: UnitOfWork) -> tuple[str, ...]:
    return tuple((await uow.execute(LIMITS)).one())


async def test_many_clients_do_their_work_on_few_backends(poolers: Poolers, migrated_postgres: str) -> None:
    url = poolers(default_pool_size="2").url(migrated_postgres)
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(contextlib.aclosing(Database(url))) for _ in range(3)]
        desks = [Desk(database) for database in made]

        async def work(number: int) -> RunStatus:
            session = f"s{number}"
            for desk in desks:
                await desk.enqueue(session)
            job = await desks[number % 3].take(session)
            await desks[(number + 1) % 3].beat(job.lease)
            chained = (await desks[number % 3].finish(job)).next
            assert chained is not None
            return (await desks[0].run(job.run)).status

        ended = await asyncio.gather(*(work(number) for number in range(20)))
        assert set(ended) == {RunStatus.COMPLETED}
    with psycopg.connect(migrated_postgres) as connection:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        (backends,) = connection.execute(count).fetchone() or (0,)
        assert backends <= 2 + 1


async def test_a_backend_is_left_without_statements_and_settings(
    pooled_url: str, migrated_postgres: str
) -> None:
    async with contextlib.aclosing(Database(pooled_url)) as database:
        desk = Desk(database)
        for _ in range(3):
            await desk.enqueue()
            await desk.finish(await desk.take(), go_on=False)
    # of the one backend that there is
    with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
        # but for the pooler's own, which it knows on each backend
        found = "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'PGBOUNCER_%'"
        assert connection.execute(found).fetchall() == []
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("most", ["200", "0"], ids=["kept", "not kept"])
async def test_statements_have_names_where_the_pooler_knows_them_on_each_backend(
    poolers: Poolers, migrated_postgres: str, most: str
) -> None:
    pooler = poolers(default_pool_size="2")
    if pooler.version < (1, 21):
        pytest.skip("no PgBouncer: names are known to 1.21 and newer, and this is an older one")
    url = poolers(default_pool_size="2", max_prepared_statements=most).url(migrated_postgres)
    count = text("SELECT count(*) FROM pg_prepared_statements")

    async def named(uow: UnitOfWork) -> int:
        return int((await uow.execute(count)).scalar_one())

    async with contextlib.aclosing(Database(url)) as database:
        # all connections at once, on either backend
        found = await asyncio.gather(*(database.read(named) for _ in range(100)))
        assert (max(found) > 0) == (most != "0")


@pytest.mark.parametrize("schema", [None, "public"])
async def test_names_that_a_pooler_forgets_are_given_anew(migrated_postgres: str, schema: str | None) -> None:
    asked = text("SELECT 7")

    async def ask(uow: UnitOfWork) -> int:
        return int((await uow.execute(asked)).scalar_one())

    async def forget(uow: UnitOfWork) -> None:
        await uow.execute(text("DEALLOCATE ALL"))  # as a pooler whose max_prepared_statements becomes 0

    async with contextlib.aclosing(Database(migrated_postgres, schema=schema, pool_size=1)) as database:
        assert [await database.read(ask) for _ in range(3)] == [7] * 3
        await database.read(forget)
        assert [await database.read(ask) for _ in range(3)] == [7] * 3


@pytest.mark.parametrize("swallowed", ["", SWALLOWED], ids=["refused", "swallowed"])
async def test_each_transaction_says_its_limits(
    poolers: Poolers, migrated_postgres: str, swallowed: str
) -> None:
    pooled_url = poolers(ignore_startup_parameters=swallowed).url(migrated_postgres)

    async def whole(uow: UnitOfWork) -> tuple[str, ...]:
        assert uow.whole is not None
        return tuple((await uow.whole(LIMITS, {})).one())

    async with contextlib.aclosing(Database(pooled_url, lease_seconds=8)) as database:
        assert await database.transact(limits) == ("2s", "2s")
        assert await database.transact(limits, is_lasting=False) == ("2s", "2s")
        assert await database.transact(whole) == ("2s", "2s")
        assert await database.run_sync(lambda connection: tuple(connection.execute(LIMITS).one())) == (
            "2s",
            "2s",
        )
    # with a schema statements go through SQLAlchemy
    async with contextlib.aclosing(Database(pooled_url, schema="public", lease_seconds=8)) as database:
        assert await database.transact(limits) == ("2s", "2s")


async def test_limits_are_still_of_the_connection_where_no_pooler_is(migrated_postgres: str) -> None:
    async with contextlib.aclosing(Database(migrated_postgres, lease_seconds=8)) as database:
        assert await database.read(limits) == ("2s", "2s")


async def test_statement_mode_is_refused_by_name(poolers: Poolers, migrated_postgres: str) -> None:
    url = poolers(pool_mode="statement").url(migrated_postgres)
    async with contextlib.aclosing(Database(url)) as database:
        for _ in range(2):
            with pytest.raises(
                ConfigurationError, match=r"pool_mode = statement.*set pool_mode = transaction"
            ):
                await Desk(database).enqueue()


async def test_session_mode_works_too(poolers: Poolers, migrated_postgres: str) -> None:
    url = poolers(pool_mode="session").url(migrated_postgres)
    async with contextlib.aclosing(Database(url, pool_size=3)) as database:
        desk = Desk(database)
        await desk.enqueue()
        assert await desk.finish(await desk.take()) is not None


async def test_migrations_go_around_the_pooler_or_not_at_all(
    poolers: Poolers, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = poolers().url(postgres_database)
    with pytest.raises(PoolerBetween, match="set TURNKEEPER_DIRECT_DATABASE_URL"):
        await upgrade_async(url)
    await upgrade_async(settings(url, direct_database_url=postgres_database).direct_url)
    async with contextlib.aclosing(Database(url)) as database:
        assert await current_revision(database) == HEAD


def test_the_command_line_migrates_what_is_around_the_pooler_unless_it_names_a_database(
    poolers: Poolers, postgres_database: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", poolers().url(postgres_database))
    assert run(["migrate"]) == 2
    monkeypatch.setenv("TURNKEEPER_DIRECT_DATABASE_URL", postgres_database)
    assert run(["migrate", "--database-url", sqlite_url]) == 0
    assert run(["migrate", "--check"]) == 1
    assert run(["migrate"]) == 0
    assert run(["migrate", "--check"]) == 0


async def test_no_lock_is_taken_on_a_connection_of_the_pool(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with contextlib.aclosing(Database(pooled_url)) as database:
        async with present(settings(pooled_url), database) as presence:
            assert not presence.can_lock
            assert await database.read(owners.held_locks) == {}
        assert "no fast recovery: a pooler is between" in caplog.text
        with pytest.raises(
            ConfigurationError,
            match=r"FAST_RECOVERY is 'on', and a pooler .* set TURNKEEPER_DIRECT_DATABASE_URL",
        ):
            async with present(settings(pooled_url, fast_recovery="on"), database):
                pass
        assert await database.read(owners.held_locks) == {}


async def test_a_worker_with_an_address_around_the_pooler_is_seen_by_its_lock(
    pooled_url: str, migrated_postgres: str
) -> None:
    given = settings(pooled_url, direct_database_url=migrated_postgres, fast_recovery="on")
    async with (
        contextlib.aclosing(Database(pooled_url)) as database,
        present(given, database) as presence,
    ):
        assert list(await database.read(owners.held_locks)) == [lock_key(presence.owner)]


async def test_an_address_of_another_database_is_noticed(
    poolers: Poolers, migrated_postgres: str, postgres_server_url: str, postgres_template: str
) -> None:
    url = poolers().url(migrated_postgres)
    with databases.postgres_database(postgres_server_url, template=postgres_template) as other:
        given = settings(url, direct_database_url=other, fast_recovery="on")
        async with contextlib.aclosing(Database(url)) as database:
            with pytest.raises(ConfigurationError, match="not seen by another"):
                async with present(given, database):
                    pass


async def test_the_doctor_says_what_is_between_and_what_is_off(
    pooled_url: str, migrated_postgres: str
) -> None:
    found = await check_database(settings(pooled_url), {})
    assert "one in transaction mode is between" in of("pooler", found).text
    assert "need TURNKEEPER_DIRECT_DATABASE_URL" in of("pooler", found).text
    assert of("recovery", found).level == "warn"
    assert "a pooler is between" in of("recovery", found).text
    assert "set TURNKEEPER_DIRECT_DATABASE_URL" in of("recovery", found).remedy

    found = await check_database(settings(pooled_url, direct_database_url=migrated_postgres), {})
    assert "go around it" in of("pooler", found).text
    assert of("recovery", found).level == "ok"
    found = await check_database(settings(migrated_postgres), {})
    assert "pooler" not in [one.check for one in found]


async def test_the_doctor_tells_session_mode_and_fails_statement_mode(
    poolers: Poolers, migrated_postgres: str
) -> None:
    session = poolers(pool_mode="session").url(migrated_postgres)
    assert "in session mode" in of("pooler", await check_database(settings(session), {})).text
    statement = poolers(pool_mode="statement").url(migrated_postgres)
    with pytest.raises(ConfigurationError, match="pool_mode = statement"):
        await check_database(settings(statement), {})


def of(check: str, found: list[Finding]) -> Finding:
    return next(one for one in found if one.check == check)


async def test_an_enqueue_joins_a_transaction_that_goes_through_a_pooler(
    poolers: Poolers, migrated_postgres: str
) -> None:
    pooled_url = poolers(default_pool_size="2").url(migrated_postgres)
    # as docs/guides/pgbouncer.md says for engines of one's own
    unnamed = {"statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
    engine = create_async_engine(async_url(pooled_url), connect_args=unnamed)
    try:
        async with AsyncClient(settings=settings(pooled_url)) as client:
            for _ in range(3):
                async with engine.begin() as connection:
                    await connection.execute(select(agents))
                    run = await client.enqueue("s", "hello", agent="support", connection=connection)
            assert (await client.get(run.id)).status is RunStatus.QUEUED
    finally:
        await engine.dispose()


def test_the_synchronous_client_goes_the_same_way(pooled_url: str) -> None:
    with Client(settings=settings(pooled_url)) as client:
        run = client.enqueue("s", "hello", agent="support")
        assert client.cancel(run.id).status is RunStatus.CANCELLED
