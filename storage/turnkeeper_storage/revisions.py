"""What Alembic does for us: the revisions there are, and the way from one to another.

Import this where it is needed and not at the top of a module: Alembic brings templates and highlighters,
which is a good part of what it takes to start a process, and most processes migrate nothing.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def alembic_config(connection: Connection, schema: str | None = None, *, online: bool = False) -> Config:
    """What Alembic's commands need to work with our migrations on this connection.

    `online`: each migration commits by itself, and indexes are built outside of transactions (PostgreSQL);
    the connection must be in none.
    """
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    config.attributes["online"] = online
    return config


def upgrade_to(connection: Connection, schema: str | None, revision: str, *, online: bool = False) -> None:
    """Bring the database from where it is to `revision`, as `alembic_config` says."""
    command.upgrade(alembic_config(connection, schema, online=online), revision)


def known_revisions() -> frozenset[str]:
    """All revisions that this code has migrations to."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
