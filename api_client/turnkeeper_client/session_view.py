"""A session as a client hands it out: opened at its first call, edits refused while a run has the session."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from turnkeeper_client import checks
from turnkeeper_client.backend import Backend
from turnkeeper_storage import ids
from turnkeeper_storage.errors import ConfigurationError, SessionBusy
from turnkeeper_storage.items import Item
from turnkeeper_storage.repositories import runs
from turnkeeper_storage.sessions.protocol import Session, SessionSettings
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

# of (session_id), or of (session_id, tenant=…): the same function that the worker's app is given
SessionFactory: TypeAlias = Callable[..., Session]


class ClientSession:
    """One conversation; structurally a `Session`.

    Edits raise SessionBusy while a run works in the session or is parked in it. For a session of the caller's
    own class this is looked up before the edit, not held against runs that begin meanwhile.
    """

    def __init__(
        self,
        session_id: str,
        *,
        backend: Backend,
        tenant: str,
        factory: SessionFactory | None = None,
        session_settings: SessionSettings | None = None,
    ) -> None:
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self._backend = backend
        self._tenant = tenant
        self._factory = factory

    async def get_items(self, limit: int | None = None) -> list[Item]:
        """The newest `limit` items in chronological order; all for None, none for 0."""
        window = checks.check_window(limit)
        return await (await self._open()).get_items(window)

    async def add_items(self, items: list[Item]) -> None:
        """Append items in order; `[]` does nothing. Raises SessionBusy, InvalidInput."""
        checked = checks.check_items(items)
        if checked:
            await (await self._open_to_edit()).add_items(checked)

    async def pop_item(self) -> Item | None:
        """Remove and return the newest item; None when there is none. Raises SessionBusy."""
        return await (await self._open_to_edit()).pop_item()

    async def clear_session(self) -> None:
        """Remove all items. Raises SessionBusy."""
        await (await self._open_to_edit()).clear_session()

    async def _open(self) -> Session:
        if self._factory is not None:
            return _made(self._factory, self.session_id, self._tenant)
        return SQLAlchemySession(
            self.session_id,
            database=await self._backend.database(),
            tenant=self._tenant,
            session_settings=self.session_settings,
        )

    async def _open_to_edit(self) -> Session:
        if self._factory is not None:
            key = ids.session_key(self._tenant, self.session_id)
            active = await (await self._backend.database()).read(partial(runs.active, key=key))
            if active is not None:
                raise SessionBusy(self.session_id, active[0], active[1].value)
        return await self._open()


def _made(factory: SessionFactory, session_id: str, tenant: str) -> Session:
    if "tenant" in inspect.signature(factory).parameters:
        return factory(session_id, tenant=tenant)
    if tenant != "default":
        raise ConfigurationError(
            f"session_factory takes no tenant, and this client's is {tenant!r}; give it a parameter `tenant`"
        )
    return factory(session_id)
