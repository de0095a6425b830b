"""A session as a client hands it out: opened at each call, edits refused while a run has the session."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from turnkeeper_client import checks
from turnkeeper_client.opening import Opening
from turnkeeper_storage import ids
from turnkeeper_storage.database import Work
from turnkeeper_storage.items import Item
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.session_edits import Edit, EditAction, check_by
from turnkeeper_storage.sessions.protocol import Session, SessionSettings, TransactionalSession, store_name
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import edit as edits

T = TypeVar("T")


class ClientSession:
    """One conversation; structurally a `Session`.

    Edits raise SessionBusy while a run works in the session or is parked in it, and stand in the audit under
    the name of `by`. For a session of the caller's own class this is looked up, and noted, before the edit,
    not held against runs that begin meanwhile. All raise StoreMismatch when the items live in another store.
    """

    def __init__(
        self,
        session_id: str,
        *,
        opening: Opening,
        session_settings: SessionSettings | None = None,
        by: str | None = None,
    ) -> None:
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self._opening = opening
        self._key = opening.key(session_id)
        self._by = check_by(by)

    async def get_items(self, limit: int | None = None) -> list[Item]:
        """The newest `limit` items in chronological order; all for None, none for 0."""
        window = checks.check_window(limit)
        session = await self._opening.open_to_read(self.session_id, self.session_settings)
        return await session.get_items(window)

    async def add_items(self, items: list[Item]) -> None:
        """Append items in order; `[]` does nothing. Raises SessionBusy, InvalidInput, InputTooLarge.

        One item may have as many bytes as the input of a run.
        """
        limit = self._opening.backend.settings.max_input_bytes
        checked = checks.check_items(items, limit=limit)
        if not checked:
            return
        session = await self._open()
        edit = Edit(EditAction.ADD, self._by, len(checked))
        if isinstance(session, TransactionalSession):

            async def add(uow: UnitOfWork) -> None:
                await self._admit(uow, session, edit)
                await session.add_items_in(uow, checked)

            await self._once(add)
        else:
            await self._once(partial(self._admit, session=session, edit=edit))
            await session.add_items(checked)

    async def pop_item(self) -> Item | None:
        """Remove and return the newest item; None when there is none. Raises SessionBusy."""
        session = await self._open()
        edit = Edit(EditAction.POP, self._by, 1)
        if type(session) is not SQLAlchemySession:
            await self._once(partial(self._admit, session=session, edit=edit))
            return await session.pop_item()

        async def pop(uow: UnitOfWork) -> Item | None:
            if await sessions.lock(uow, self._key) is None:
                return None
            await self._admit(uow, session, edit)
            return await edits.pop_item(uow, self._key, self.session_id)

        return await self._once(pop)

    async def clear_session(self) -> None:
        """Remove all items. Raises SessionBusy."""
        session = await self._open()
        edit = Edit(EditAction.CLEAR, self._by)
        if type(session) is not SQLAlchemySession:
            await self._once(partial(self._admit, session=session, edit=edit))
            await session.clear_session()
            return

        async def clear(uow: UnitOfWork) -> None:
            if await sessions.lock(uow, self._key) is not None:
                await self._admit(uow, session, edit)
                await edits.clear(uow, self._key, self.session_id)

        await self._once(clear)

    async def _open(self) -> Session:
        return await self._opening.open(self.session_id, self.session_settings)

    async def _admit(self, uow: UnitOfWork, session: Session, edit: Edit) -> None:
        await edits.admit(uow, self._key, self._opening.tenant, self.session_id, store_name(session), edit)

    async def _once(self, work: Work[T]) -> T:
        return await (await self._opening.backend.database()).transact_once(work, "edit")
