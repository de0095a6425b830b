"""What a client does with whole sessions: list, describe, delete, export, import, and who edited them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import partial

from turnkeeper_client import checks
from turnkeeper_client.opening import Opening
from turnkeeper_client.session_view import ClientSession
from turnkeeper_client.snapshots import EditPage, SessionInfo, SessionPage
from turnkeeper_storage import ids
from turnkeeper_storage.admission import check_metadata, check_text
from turnkeeper_storage.checking import SessionCheck, check_history, repair_history
from turnkeeper_storage.deleting import delete_session
from turnkeeper_storage.errors import NotFound, SessionNotEmpty
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.repositories import items, run_states, session_edits, session_listing, session_rows
from turnkeeper_storage.repositories.session_edits import EditFilter
from turnkeeper_storage.repositories.session_listing import SessionFilter, SessionSummary
from turnkeeper_storage.session_edits import Edit, EditAction, check_by
from turnkeeper_storage.session_lines import SessionHeader, check_retention, item_line, parse_lines
from turnkeeper_storage.sessions.protocol import Session, SessionSettings, TransactionalSession, store_name
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import edit as edits
from turnkeeper_storage.verbs import session_life
from turnkeeper_storage.verbs.session_life import UNSET, SessionChange, Unset

# of one look at a long history while it is exported
PAGE = 500
ALL = 2**31


class AsyncSessions:
    """The part of AsyncClient that deals with sessions."""

    tenant: str
    _opening: Opening

    def session(
        self, session_id: str, *, session_settings: SessionSettings | None = None, by: str | None = None
    ) -> ClientSession:
        """The session's history, to read and to edit; it need not exist yet.

        `by`: who edits, for the audit.
        """
        return ClientSession(session_id, opening=self._opening, session_settings=session_settings, by=by)

    async def sessions(
        self,
        limit: int = 50,
        cursor: str | None = None,
        prefix: str | None = None,
        owner: str | None = None,
    ) -> SessionPage:
        """A page of this tenant's sessions in the order of their ids.

        Those that begin with `prefix`, and those of `owner`, when given.
        """
        wanted = SessionFilter(
            tenant=self.tenant,
            prefix=None if prefix is None else check_text(prefix, "prefix"),
            owner=None if owner is None else check_text(owner, "owner"),
            after=None if cursor is None else check_text(cursor, "cursor"),
            limit=checks.check_limit(limit) + 1,
        )
        database = await self._opening.backend.database()
        found = await database.read(partial(session_listing.search, wanted=wanted))
        page = tuple(SessionInfo.of(row) for row in found[:limit])
        return SessionPage(page, page[-1].id if len(found) > limit else None)

    async def session_info(self, session_id: str) -> SessionInfo:
        """What is known of a session. Raises NotFound."""
        return SessionInfo.of(await self._summary(ids.check_session_id(session_id)))

    async def update_session(
        self,
        session_id: str,
        *,
        owner: str | Unset | None = UNSET,
        metadata: Mapping[str, Json] | Unset | None = UNSET,
        retention_seconds: float | Unset | None = UNSET,
        by: str | None = None,
    ) -> SessionInfo:
        """Say whose the session is, what else is to be known, how long it is kept; it is made when new.

        What is not given stays, None takes away. `metadata` replaces the whole: a JSON object of at most
        16 KiB. After `retention_seconds` without a change the session is deleted. Raises InvalidInput.
        """
        said = SessionChange(
            owner if owner in (UNSET, None) else check_text(owner, "owner"),
            metadata if metadata in (UNSET, None) else check_metadata(metadata),
            UNSET if retention_seconds is UNSET else check_retention(retention_seconds),
        )
        key, editor = self._key(session_id), check_by(by)
        database = await self._opening.backend.database()
        await database.transact(
            lambda uow: session_life.change(uow, key, self.tenant, session_id, said, editor)
        )
        return await self.session_info(session_id)

    async def delete_session(self, session_id: str, *, by: str | None = None) -> None:
        """Delete a session with its items, runs, approvals and events, also while a run works in it.

        That run stops at its next write, and is gone like the others. Only the audit keeps that there was a
        session. Raises NotFound, StoreMismatch, StoreUnavailable.
        """
        key, edit = self._key(session_id), Edit(EditAction.DELETE, check_by(by))
        session = await self._opening.open(session_id)
        owner = f"delete:{socket.gethostname()}:{os.getpid()}"
        database = await self._opening.backend.database()
        await delete_session(database, key, self.tenant, session, edit, owner=owner)

    async def export_session(self, session_id: str) -> AsyncGenerator[str]:
        """The session as JSON lines without their ends: a header, then one item a line, oldest first.

        Items that cannot be read are left out. Raises NotFound, StoreMismatch, StoreUnavailable.
        """
        found = await self._summary(ids.check_session_id(session_id))
        session = await self._opening.open_to_read(session_id)
        yield SessionHeader(found.id, found.owner, found.metadata, found.retention_seconds).line()
        if type(session) is SQLAlchemySession:
            async for line in self._stored_lines(found.session_key):
                yield line
        else:
            for item in await session.get_items(ALL):
                yield item_line(item)

    async def import_session(
        self, lines: Iterable[str], *, session_id: str | None = None, by: str | None = None
    ) -> SessionInfo:
        """Make a session of this tenant out of an export; `session_id` instead of the one that it names.

        All of it or nothing. Raises InvalidInput that names the line, UnknownStateVersion, SessionNotEmpty
        for a session that has, or had, items or runs.
        """
        header, parsed = await asyncio.to_thread(parse_lines, lines)
        limit = self._opening.backend.settings.max_input_bytes
        new = await asyncio.to_thread(checks.check_items, parsed, limit=limit)
        wanted = header.id if session_id is None else ids.check_session_id(session_id)
        session = await self._opening.open(wanted)
        edit = Edit(EditAction.IMPORT, check_by(by), len(new))
        if not isinstance(session, TransactionalSession) and await session.get_items(1):
            raise SessionNotEmpty(wanted)
        database = await self._opening.backend.database()
        await database.transact_once(lambda uow: self._put(uow, session, wanted, header, new, edit))
        if not isinstance(session, TransactionalSession) and new:
            await _add_or_clear(session, new)
        return await self.session_info(wanted)

    async def check_session(self, session_id: str) -> SessionCheck:
        """Look for what is broken in the session's history: what is left out of every model's input.

        Nothing is locked, and the calls of a run that is not through yet are not counted. Raises NotFound,
        StoreMismatch, StoreUnavailable.
        """
        key = self._key(session_id)
        session = await self._opening.open_to_read(session_id)
        found = await check_history(await self._opening.backend.database(), key, session)
        if not found.items:
            await self._summary(session_id)
        return found

    async def repair_session(
        self, session_id: str, *, remove_unreadable: bool = False, by: str | None = None
    ) -> SessionCheck:
        """Take what is broken out of the session's history; it is found anew, and no run begins meanwhile.

        Items that cannot be read may only lack their key: while there are some nothing is removed, unless
        `remove_unreadable`. Raises NotFound, SessionBusy, StoreMismatch, StoreUnavailable, LeaseLost when
        it took too long, ConfigurationError for a store of which no single item can be taken out.
        """
        key, editor = self._key(session_id), check_by(by)
        session = await self._opening.open(session_id)
        database = await self._opening.backend.database()
        try:
            return await repair_history(
                database, key, self.tenant, session, by=editor, remove_unreadable=remove_unreadable
            )
        finally:
            # for a run that was enqueued meanwhile
            await self._opening.backend.ring(key)

    async def session_edits(
        self, session_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> EditPage:
        """A page of the audit, newest first: who edited which session, how and when, without contents."""
        wanted = EditFilter(
            tenant=self.tenant,
            session_id=None if session_id is None else check_text(session_id, "session_id"),
            before=None if cursor is None else check_text(cursor, "cursor"),
            limit=checks.check_limit(limit) + 1,
        )
        database = await self._opening.backend.database()
        found = await database.read(partial(session_edits.search, wanted=wanted))
        page = tuple(found[:limit])
        return EditPage(page, page[-1].id if len(found) > limit else None)

    def _key(self, session_id: str) -> str:
        return self._opening.key(ids.check_session_id(session_id))

    async def _summary(self, session_id: str) -> SessionSummary:
        look = partial(session_listing.get, key=self._key(session_id), tenant=self.tenant)
        found = await (await self._opening.backend.database()).read(look)
        if found is None:
            raise NotFound("session", session_id)
        return found

    async def _stored_lines(self, key: str) -> AsyncGenerator[str]:
        database, after = await self._opening.backend.database(), 0
        while True:
            rows = await database.read(partial(items.page, key=key, after=after, limit=PAGE))
            for row in rows:
                if row.item is not None:
                    created_at = row.created_at.isoformat()
                    yield item_line(row.item, run_id=row.run_id, turn=row.turn, created_at=created_at)
            if len(rows) < PAGE:
                return
            after = rows[-1].position

    async def _put(
        self,
        uow: UnitOfWork,
        session: Session,
        session_id: str,
        header: SessionHeader,
        new: Sequence[Item],
        edit: Edit,
    ) -> None:
        key = self._opening.key(session_id)
        await edits.admit(uow, key, self.tenant, session_id, store_name(session), edit)
        if not await run_states.is_new(uow, key):
            raise SessionNotEmpty(session_id)
        said = SessionChange(header.owner, header.metadata or None, header.retention_seconds)
        await session_rows.change(uow, key, said.values())
        if isinstance(session, TransactionalSession):
            await session.add_items_in(uow, new)


async def _add_or_clear(session: Session, new: list[Item]) -> None:
    try:
        await session.add_items(new)
    except BaseException:
        with contextlib.suppress(Exception):
            await session.clear_session()
        raise
