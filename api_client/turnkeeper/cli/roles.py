"""`turnkeeper roles`: print the SQL that makes PostgreSQL's roles, and gives each what it needs."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from turnkeeper.cli import output
from turnkeeper.cli.options import DatabaseUrl
from turnkeeper_storage import roles as sql
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import ConfigurationError, InvalidInput
from turnkeeper_storage.settings import load_settings

# PostgreSQL cuts longer names off
MOST = 63
Prefix: TypeAlias = Annotated[
    str, typer.Option("--prefix", metavar="NAME", help="What the names of the roles begin with.")
]


def roles(
    database_url: DatabaseUrl = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="PostgreSQL schema. Default: TURNKEEPER_DB_SCHEMA, or public.",
            show_default=False,
        ),
    ] = None,
    prefix: Prefix = "turnkeeper",
    only_grants: Annotated[
        bool,
        typer.Option("--grants", help="What the owner of the tables repeats after each migration."),
    ] = False,
) -> None:
    """Print SQL for least-privilege roles of PostgreSQL: migrate, worker, web, operator. Executes nothing.

    A superuser runs it once, with psql, before the first migration. What --grants prints is what
    `turnkeeper migrate --grant PREFIX` does by itself. The roles have no passwords: set them with \\password.
    """
    check_prefix(prefix, "--prefix")
    settings = load_settings(database_url=database_url, db_schema=schema)
    url = async_url(settings.database_url)
    if url.get_backend_name() != "postgresql" or not url.database:
        raise ConfigurationError(
            "TURNKEEPER_DATABASE_URL names no PostgreSQL database; roles are PostgreSQL's, SQLite has none"
        )
    place = settings.db_schema or "public"
    statements = sql.grants(prefix, place) if only_grants else sql.creation(prefix, place, url.database)
    output.write(f"-- Turnkeeper's roles, for database {url.database}, schema {place}. Safe to repeat.")
    for line in ("BEGIN", *statements, "COMMIT"):
        output.write(f"{line};")


def check_prefix(prefix: str, option: str) -> None:
    """Raise InvalidInput unless roles can be named after it."""
    if not prefix or len(prefix.encode()) + len("_operator") > MOST or not prefix.isprintable():
        raise InvalidInput(option, "is empty, or too long for the name of a role", "use e.g. turnkeeper")
