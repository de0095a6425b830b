"""Which session object a run uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

OpenSession: TypeAlias = Callable[[str, str], Session]


def session_opener(database: Database, factory: Callable[..., Session] | None) -> OpenSession:
    """A function of (tenant, session_id).

    A factory that takes a `tenant` is given it; one that does not serves the tenant "default" only, so that
    two tenants with one session id can never share a history.
    """
    if factory is None:
        return lambda tenant, session_id: SQLAlchemySession(session_id, database=database, tenant=tenant)
    takes_tenant = "tenant" in inspect.signature(factory).parameters

    def opened(tenant: str, session_id: str) -> Session:
        if takes_tenant:
            return factory(session_id, tenant=tenant)
        if tenant != "default":
            raise RunFailure(
                "tenant_unsupported",
                f"session_factory takes no tenant, the run's is {tenant!r}; give it a parameter `tenant`",
            )
        return factory(session_id)

    return opened
