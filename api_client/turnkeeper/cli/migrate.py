"""`turnkeeper migrate`: bring the database to this code's schema, or say whether it is."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, DatabaseUrl
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import HEAD, current_revision, upgrade
from turnkeeper_storage.settings import load_settings


def migrate(
    database_url: DatabaseUrl = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="PostgreSQL schema. Default: TURNKEEPER_DB_SCHEMA.", show_default=False
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 when it is not current.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make or upgrade Turnkeeper's tables. Safe to repeat."""
    settings = load_settings(database_url=database_url, db_schema=schema)
    before = asyncio.run(_read_revision(settings.database_url, settings.db_schema))
    if not check:
        if not as_json:
            output.write(f"The database is {_named(before)}; this code needs {HEAD}.")
        upgrade(settings.database_url, schema=settings.db_schema)
    after = before if check else HEAD
    is_current = after == HEAD
    if as_json:
        output.write_json({"before": before, "current": after, "expected": HEAD, "is_current": is_current})
    elif check:
        output.write(f"The database is {_named(after)}; this code needs {HEAD}.")
    else:
        output.write("Nothing to do." if before == HEAD else f"Migrated to {HEAD}.")
    if not is_current:
        raise typer.Exit(1)


async def _read_revision(url: str, schema: str | None) -> str | None:
    database = Database(url, schema=schema)
    try:
        return await current_revision(database)
    finally:
        await database.aclose()


def _named(revision: str | None) -> str:
    return "not migrated" if revision is None else f"at revision {revision}"
