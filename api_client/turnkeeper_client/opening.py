"""How a client opens the session of an id: in the database, or as the caller's own factory makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from turnkeeper_client.backend import Backend
from turnkeeper_storage import ids
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.sessions.protocol import Session, SessionSettings, store_name
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.edit import check_store

# of (session_id), or of (session_id, tenant=…): the same function that the worker's app is given
SessionFactory: TypeAlias = Callable[..., Session]


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens sessions of one tenant."""

    backend: Backend
    tenant: str
    factory: SessionFactory | None = None

    def key(self, session_id: str) -> str:
        """The session's key."""
        return ids.session_key(self.tenant, session_id)

    async def open(self, session_id: str, settings: SessionSettings | None = None) -> Session:
        """The session, not looked at yet. Raises ConfigurationError, and what the factory raises."""
        if self.factory is not None:
            return _made(self.factory, session_id, self.tenant)
        database = await self.backend.database()
        return SQLAlchemySession(session_id, database=database, tenant=self.tenant, session_settings=settings)

    async def open_to_read(self, session_id: str, settings: SessionSettings | None = None) -> Session:
        """The session, once it is sure that its items live where it looks. Raises StoreMismatch."""
        session, key = await self.open(session_id, settings), self.key(session_id)

        async def look(uow: UnitOfWork) -> None:
            row = await sessions.find(uow, key, self.tenant)
            if row is not None:
                check_store(row, store_name(session))

        await (await self.backend.database()).read(look)
        return session


def _made(factory: SessionFactory, session_id: str, tenant: str) -> Session:
    if "tenant" in inspect.signature(factory).parameters:
        return factory(session_id, tenant=tenant)
    if tenant != "default":
        raise ConfigurationError(
            f"session_factory takes no tenant, and this client's is {tenant!r}; give it a parameter `tenant`"
        )
    return factory(session_id)
