"""Migrations make what `tables` says, once, where they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import SchemaItem

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import SchemaMismatch
from turnkeeper_storage.migrate import (
    HEAD,
    VERSION_TABLE,
    Standing,
    check_schema,
    current_revision,
    ensure_tables,
    read_standing,
    upgrade,
    upgrade_async,
)
from turnkeeper_storage.revisions import alembic_config
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.tables import metadata


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.aclose()


async def set_revision(database: Database, revision: str) -> None:
    await database.run_sync(
        lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")).close()
    )


def differences(connection: Connection) -> list[object]:
    def ours(
        item: SchemaItem, name: str | None, kind: str, reflected: bool, other: SchemaItem | None
    ) -> bool:
        return not (kind == "table" and name == VERSION_TABLE)

    options = {"include_object": ours, "compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_the_migrations_make_the_tables_of_the_code(database: Database, database_url: str) -> None:
    await upgrade_async(database_url)
    assert await database.run_sync(differences, writes=False) == []
    await check_schema(database)


async def test_a_missing_index_would_be_seen(database: Database, database_url: str) -> None:
    """The comparison above can fail."""
    await upgrade_async(database_url)
    await database.run_sync(lambda c: c.execute(text("DROP INDEX uq_turnkeeper_runs_active")).close())
    assert len(await database.run_sync(differences, writes=False)) == 1


async def test_partial_indexes_stand_as_the_protocol_says(database: Database, database_url: str) -> None:
    await upgrade_async(database_url)

    def wheres(connection: Connection) -> dict[str, str]:
        found = {}
        for table in ("turnkeeper_sessions", "turnkeeper_runs"):
            for index in inspect(connection).get_indexes(table):
                options = index.get("dialect_options", {})
                where = options.get("postgresql_where", options.get("sqlite_where"))
                if where is not None:
                    found[str(index["name"])] = str(where)
        return found

    found = await database.run_sync(wheres, writes=False)
    assert set(found) == {
        "ix_turnkeeper_sessions_runnable_since",
        "ix_turnkeeper_sessions_retention",
        "ix_turnkeeper_runs_deadline",
        "ix_turnkeeper_runs_head",
        "ix_turnkeeper_runs_queued",
        "uq_turnkeeper_runs_active",
    }
    assert "queued" not in found["uq_turnkeeper_runs_active"]
    assert "queued" in found["ix_turnkeeper_runs_head"]


async def test_a_database_that_is_not_migrated_says_what_to_do(database: Database) -> None:
    assert await current_revision(database) is None
    with pytest.raises(SchemaMismatch, match="run `turnkeeper migrate`") as caught:
        await check_schema(database)
    assert caught.value.found is None
    assert caught.value.expected == HEAD


async def set_oldest_code(database: Database, revision: str) -> None:
    await database.run_sync(
        lambda c: c.execute(text(f"UPDATE turnkeeper_compatibility SET oldest_code = '{revision}'")).close()
    )


async def test_a_database_that_only_had_additions_since_fits_older_code(
    database: Database, database_url: str
) -> None:
    await upgrade_async(database_url)
    await set_revision(database, "9999")
    await set_oldest_code(database, HEAD)
    await check_schema(database)
    await ensure_tables(database)
    await upgrade_async(database_url)  # of the older release: it leaves it as it is
    assert await read_standing(database) == Standing("9999", HEAD)


async def test_code_that_the_database_calls_too_old_is_refused(database: Database, database_url: str) -> None:
    await upgrade_async(database_url)
    await set_revision(database, "9999")
    await set_oldest_code(database, "9000")
    for attempt in (check_schema(database), ensure_tables(database), upgrade_async(database_url)):
        with pytest.raises(SchemaMismatch, match="newer Turnkeeper") as caught:
            await attempt
        assert (caught.value.found, caught.value.expected) == ("9999", HEAD)
    assert await current_revision(database) == "9999"


async def test_a_database_that_lost_what_it_says_of_older_code_is_refused(
    database: Database, database_url: str
) -> None:
    await upgrade_async(database_url)
    await set_revision(database, "9999")
    for statement in ("DELETE FROM turnkeeper_compatibility", "DROP TABLE turnkeeper_compatibility"):
        await database.run_sync(partial(_execute, statement))
        with pytest.raises(SchemaMismatch, match="newer Turnkeeper"):
            await check_schema(database)


def _execute(statement: str, connection: Connection) -> None:
    connection.execute(text(statement))


async def test_every_migration_says_which_code_may_still_use_the_database(
    database: Database, database_url: str
) -> None:
    """From 0004 on, which made the table; older ones were additions only."""
    await upgrade_async(database_url)
    with_it = [one.module for one in scripts() if one.revision >= "0004"]
    oldest = [module.OLDEST_CODE for module in with_it]
    assert oldest == sorted(oldest)  # it only grows
    said = await database.run_sync(
        lambda c: c.execute(text("SELECT id, oldest_code FROM turnkeeper_compatibility")).all(), writes=False
    )
    assert said == [(1, oldest[-1])]


def scripts() -> list[Script]:
    """Our migrations, the first one first."""
    folder = ScriptDirectory.from_config(alembic_config(None))  # type: ignore[arg-type]  # it is not used
    return list(folder.walk_revisions())[::-1]


async def test_an_older_database_is_refused_until_it_is_migrated(
    database: Database, database_url: str
) -> None:
    await upgrade_async(database_url, revision="0003")
    with pytest.raises(SchemaMismatch, match="run `turnkeeper migrate`"):
        await check_schema(database)
    await upgrade_async(database_url)
    await check_schema(database)
    assert await database.run_sync(differences, writes=False) == []


async def test_an_upgrade_can_be_repeated(database: Database, database_url: str) -> None:
    await upgrade_async(database_url)
    await upgrade_async(database_url)
    await ensure_tables(database)
    assert await current_revision(database) == HEAD


def test_an_upgrade_works_without_a_loop(database_url: str) -> None:
    upgrade(database_url)
    upgrade(database_url)


async def test_two_upgrades_at_once_both_succeed(database: Database, database_url: str) -> None:
    """In threads, as two deploys would: nothing that they share in one loop helps them."""
    await asyncio.gather(*(asyncio.to_thread(upgrade, database_url) for _ in range(2)))
    assert await current_revision(database) == HEAD


async def test_two_databases_can_be_migrated_by_one_loop_at_once(sqlite_url: str) -> None:
    urls = [sqlite_url, f"{sqlite_url}.2", f"{sqlite_url}.3"]
    await asyncio.gather(*(upgrade_async(url) for url in urls))
    for url in urls:
        database = Database(url)
        await check_schema(database)
        await database.aclose()


async def test_a_downgrade_leaves_nothing_but_the_version_table(
    database: Database, database_url: str
) -> None:
    await upgrade_async(database_url)

    def down(connection: Connection) -> list[str]:
        command.downgrade(alembic_config(connection), "base")
        return inspect(connection).get_table_names()

    assert await database.run_sync(down) == [VERSION_TABLE]
    assert await current_revision(database) is None
    await upgrade_async(database_url)
    await check_schema(database)


async def test_a_schema_takes_all_tables_beside_a_users_own_migrations(postgres_database: str) -> None:
    plain = Database(postgres_database)
    await plain.run_sync(_their_own)
    await upgrade_async(postgres_database, schema="agents")
    ours = Database(postgres_database, schema="agents")
    await check_schema(ours)
    session = SQLAlchemySession("s", database=ours)
    await session.add_items([{"role": "user", "content": "hello"}])
    assert len(await session.get_items()) == 1
    tables = await plain.run_sync(
        lambda c: (inspect(c).get_table_names(), inspect(c).get_table_names(schema="agents")), writes=False
    )
    assert tables[0] == ["alembic_version"]
    assert set(tables[1]) == {VERSION_TABLE, *metadata.tables}
    with pytest.raises(SchemaMismatch):
        await check_schema(plain)
    await ours.aclose()
    await plain.aclose()


def _their_own(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
    connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))


async def test_a_schema_of_an_odd_name_is_quoted(postgres_database: str) -> None:
    schema = 'my "odd" schema'
    await upgrade_async(postgres_database, schema=schema)
    database = Database(postgres_database, schema=schema)
    await check_schema(database)
    await database.aclose()


async def test_sqlite_has_no_schemas_and_ignores_the_setting(sqlite_url: str) -> None:
    await upgrade_async(sqlite_url, schema="agents")
    database = Database(sqlite_url, schema="agents")
    await check_schema(database)
    session = SQLAlchemySession("s", database=database)
    await session.add_items([{"role": "user", "content": "hello"}])
    assert len(await session.get_items()) == 1
    await database.aclose()
