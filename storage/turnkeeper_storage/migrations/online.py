"""What migrations need in order not to hold up those who work meanwhile.

A migration of a database in use runs in a transaction of its own, whose locks are waited for only shortly;
what takes long runs outside of it, through these. On SQLite, and where the tables are made anew, all is one
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy import TextClause

# An index waits for all transactions that are open when it is begun, and holds up nobody meanwhile.
INDEX_LOCK_TIMEOUT = "15min"

_COMPATIBILITY = sa.table("turnkeeper_compatibility", sa.column("id"), sa.column("oldest_code"))
_IS_VALID = sa.text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE c.relname = :name AND pg_table_is_visible(c.oid)"
)
_SET = sa.text("SELECT set_config('lock_timeout', :value, false)")


def is_online() -> bool:
    """Whether others may be at work in this database, and not just wait for the migration to end."""
    config = op.get_context().config
    return config is not None and bool(config.attributes.get("online"))


def create_index(name: str, table: str, columns: Sequence[str], *, where: TextClause | None = None) -> None:
    """Make an index that is not unique without locking writes. To be called before all else in a migration.

    On PostgreSQL it is built outside of the migration's transaction, and so may stand already when the
    migration is run again after an interruption; one that was left half built is dropped first.
    """
    if not is_online():
        op.create_index(name, table, columns, unique=False, postgresql_where=where, sqlite_where=where)
        return
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        before = connection.execute(sa.text("SHOW lock_timeout")).scalar_one()
        connection.execute(_SET, {"value": INDEX_LOCK_TIMEOUT})
        try:
            _build(name, table, columns, where)
        finally:
            connection.execute(_SET, {"value": before})


def _build(name: str, table: str, columns: Sequence[str], where: TextClause | None) -> None:
    if op.get_bind().execute(_IS_VALID, {"name": name}).scalar_one_or_none() is False:
        op.drop_index(name, table_name=table, postgresql_concurrently=True)
    op.create_index(
        name,
        table,
        columns,
        unique=False,
        postgresql_where=where,
        postgresql_concurrently=True,
        if_not_exists=True,
    )


def set_oldest_code(revision: str) -> None:
    """From now on code of an earlier revision than this must not use the database."""
    op.execute(sa.delete(_COMPATIBILITY))
    op.execute(sa.insert(_COMPATIBILITY).values(id=1, oldest_code=revision))


__all__ = ["create_index", "is_online", "set_oldest_code"]
