"""A database whose tables belong to a role of their own, with a role for each kind of process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from turnkeeper_storage.roles import ROLES, creation, role_name


@dataclass(frozen=True, slots=True)
class RoleSite:
    """`url` is the superuser's; `prefix` is what the names of the roles begin with."""

    url: str
    prefix: str

    def as_role(self, kind: str) -> str:
        """The URL of the role: migrate, worker, web or operator."""
        named = make_url(self.url).set(username=role_name(self.prefix, kind), password=None)
        return named.render_as_string(hide_password=False)


@contextmanager
def roles_made(url: str, schema: str = "public") -> Iterator[RoleSite]:
    """Roles of the test's own on the server of this database; they go, with what they own, at the end."""
    site = RoleSite(url, f"tk_{secrets.token_hex(5)}")
    database = make_url(url).database
    assert database is not None
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in creation(site.prefix, schema, database):
                connection.execute(statement.encode())
        yield site
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            for kind in ROLES:
                role = sql.Identifier(role_name(site.prefix, kind))
                connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
                connection.execute(sql.SQL("DROP ROLE {}").format(role))
