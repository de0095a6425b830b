"""A session as a client hands it out: opened at its first call, edits refused while a run has the session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from turnkeeper_client.backend import Backend
from turnkeeper_storage import ids
from turnkeeper_storage.errors import InvalidInput, SessionBusy
from turnkeeper_storage.items import Item, as_item, encode
from turnkeeper_storage.repositories import runs
from turnkeeper_storage.sessions.protocol import Session, SessionSettings
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

SessionFactory: TypeAlias = Callable[[str], Session]


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
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidInput("limit", f"is {limit!r:.64}", "use a whole number of at least 0, or None")
        return await (await self._open()).get_items(limit)

    async def add_items(self, items: list[Item]) -> None:
        """Append items in order; `[]` does nothing. Raises SessionBusy, InvalidInput."""
        if isinstance(items, (str, bytes)) or not isinstance(items, (list, tuple)):
            raise InvalidInput("items", f"is {type(items).__name__}", "send a list of items")
        checked = [as_item(item, field=f"items[{index}]") for index, item in enumerate(items)]
        encode(checked, field="items")
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
            return self._factory(self.session_id)
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
