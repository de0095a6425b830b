"""`turnkeeper migrate`: bring the database to this code's schema, or say whether it is."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import AsJson, DatabaseUrl
from turnkeeper.cli.roles import check_prefix
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import HEAD, Standing, grant, read_standing, upgrade
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
    grant_to: Annotated[
        str | None,
        typer.Option(
            "--grant",
            metavar="PREFIX",
            help="Then give the roles of `turnkeeper roles --prefix PREFIX` what they need.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make or upgrade Turnkeeper's tables. Safe to repeat."""
    if grant_to is not None:
        check_prefix(grant_to, "--grant")
    settings = load_settings(database_url=database_url, db_schema=schema)
    # what the call names comes before what the environment says of another
    url = settings.direct_url if database_url is None else settings.database_url
    before = asyncio.run(_read_standing(url, settings.db_schema))
    if not as_json:
        output.write(_told(before))
    if not check:
        upgrade(url, schema=settings.db_schema)
        if grant_to is not None:
            grant(url, grant_to, schema=settings.db_schema)
    is_done = before.fits or not check
    after = before.revision if check or before.fits else HEAD
    if as_json:
        output.write_json(
            {"before": before.revision, "current": after, "expected": HEAD, "is_current": is_done}
        )
    elif not check:
        output.write("Nothing to do." if before.fits else f"Migrated to {HEAD}.")
        if grant_to is not None:
            output.write(f"{grant_to}_worker, {grant_to}_web and {grant_to}_operator have their rights.")
    if not is_done:
        raise typer.Exit(1)


async def _read_standing(url: str, schema: str | None) -> Standing:
    database = Database(url, schema=schema)
    try:
        return await read_standing(database)
    finally:
        await database.aclose()


def _told(standing: Standing) -> str:
    where = "not migrated" if standing.revision is None else f"at revision {standing.revision}"
    if standing.is_newer and standing.fits:
        return f"The database is {where}; this code is of {HEAD}, and works on it."
    return f"The database is {where}; this code needs {HEAD}."
