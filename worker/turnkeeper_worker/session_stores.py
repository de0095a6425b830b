"""Which session object a run uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.sessions.factories import DATABASE, TENANT, SessionFactory, asked_for
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

OpenSession: TypeAlias = Callable[[str, str], Session]


def session_opener(database: Database, factory: SessionFactory | None) -> OpenSession:
    """A function of (tenant, session_id).

    A factory that takes a `tenant` is given it; one that does not serves the tenant "default" only, so that
    two tenants with one session id can never share a history. One that takes a `database` is given ours.
    """
    if factory is None:
        return lambda tenant, session_id: SQLAlchemySession(session_id, database=database, tenant=tenant)
    names = asked_for(factory)

    def opened(tenant: str, session_id: str) -> Session:
        if TENANT not in names and tenant != "default":
            raise RunFailure(
                "tenant_unsupported",
                f"session_factory takes no tenant, the run's is {tenant!r}; give it a parameter `tenant`",
            )
        offered = {TENANT: tenant, DATABASE: database}
        return factory(session_id, **{name: offered[name] for name in names})

    return opened
