"""What AsyncSessions does, over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping

from turnkeeper_client import checks
from turnkeeper_client.erasing import Erasure, whose
from turnkeeper_client.remote.api import Remote
from turnkeeper_client.remote.documents import (
    check_of,
    edit_page_of,
    erasure_of,
    session_of,
    session_page_of,
)
from turnkeeper_client.remote.transport import segment, told
from turnkeeper_client.session_view import ClientSession
from turnkeeper_client.sessions import AsyncSessions
from turnkeeper_client.snapshots import EditPage, SessionInfo, SessionPage
from turnkeeper_storage import ids
from turnkeeper_storage.checking import SessionCheck
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Item, Json, decode
from turnkeeper_storage.session_edits import check_by
from turnkeeper_storage.sessions.protocol import SessionSettings, effective_limit
from turnkeeper_storage.verbs.session_life import UNSET, Unset

SESSIONS = "/v1/sessions"
ERASURES = "/v1/erasures"
# as many items as one request gives; more are read as an export is
MAX_ITEMS = 1000
ANY_SIZE = sys.maxsize


class RemoteSessions(Remote, AsyncSessions):
    """The part of RemoteClient that deals with sessions."""

    def session(
        self, session_id: str, *, session_settings: SessionSettings | None = None, by: str | None = None
    ) -> ClientSession:
        return RemoteSession(self, session_id, session_settings=session_settings, by=by)

    async def sessions(
        self,
        limit: int = 50,
        cursor: str | None = None,
        prefix: str | None = None,
        owner: str | None = None,
    ) -> SessionPage:
        wanted = checks.check_limit(limit)
        return session_page_of(
            await self._get(SESSIONS, limit=wanted, cursor=cursor, prefix=prefix, owner=owner)
        )

    async def session_info(self, session_id: str) -> SessionInfo:
        return session_of(await self._get(path_of(session_id)))

    async def update_session(
        self,
        session_id: str,
        *,
        owner: str | Unset | None = UNSET,
        metadata: Mapping[str, Json] | Unset | None = UNSET,
        retention_seconds: float | Unset | None = UNSET,
        by: str | None = None,
    ) -> SessionInfo:
        given = {"owner": owner, "metadata": metadata, "retention_seconds": retention_seconds}
        said = {name: value for name, value in given.items() if value is not UNSET}
        await self._check_by(check_by(by))
        answer = await self._transport.call("PATCH", path_of(session_id), body=said, is_repeatable=True)
        return session_of(answer.document)

    async def delete_session(self, session_id: str, *, by: str | None = None) -> None:
        await self._check_by(check_by(by))
        await self._transport.call("DELETE", path_of(session_id))

    async def erase(
        self,
        session_id: str | None = None,
        *,
        prefix: str | None = None,
        owner: str | None = None,
        everything: bool = False,
        by: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Erasure:
        whose(session_id, prefix, owner, everything=everything)
        await self._check_by(check_by(by))
        named = {"session_id": session_id, "prefix": prefix, "owner": owner}
        body: dict[str, Json] = {name: value for name, value in named.items() if value is not None}
        if everything:
            body["everything"] = True
        if limit is not None:
            body["limit"] = checks.check_limit(limit)
        erased = Erasure(0, (), cursor)
        while True:
            if erased.next_cursor is not None:
                body["cursor"] = erased.next_cursor
            answer = await self._transport.call("POST", ERASURES, body=body, is_repeatable=True)
            erased += erasure_of(answer.document)
            if limit is not None or erased.next_cursor is None:
                return erased

    async def export_session(self, session_id: str) -> AsyncGenerator[str]:
        path = f"{path_of(session_id)}/export"
        async with self._transport.stream(path, accept="application/x-ndjson") as response:
            lines = response.aiter_lines()
            while True:
                with told():
                    line = await anext(lines, None)
                if line is None:
                    return
                yield line

    async def import_session(
        self, lines: Iterable[str], *, session_id: str | None = None, by: str | None = None
    ) -> SessionInfo:
        await self._check_by(check_by(by))
        # `lines` may be read from a file, a step at a time
        body = {"lines": await asyncio.to_thread(list, lines), "session_id": session_id}
        return session_of((await self._transport.call("POST", f"{SESSIONS}/import", body=body)).document)

    async def check_session(self, session_id: str) -> SessionCheck:
        return check_of(await self._get(f"{path_of(session_id)}/check"))

    async def repair_session(
        self, session_id: str, *, remove_unreadable: bool = False, by: str | None = None
    ) -> SessionCheck:
        await self._check_by(check_by(by))
        answer = await self._transport.call(
            "POST", f"{path_of(session_id)}/repair", body={"remove_unreadable": remove_unreadable}
        )
        return check_of(answer.document)

    async def session_edits(
        self, session_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> EditPage:
        wanted = checks.check_limit(limit)
        return edit_page_of(await self._get("/v1/edits", session_id=session_id, limit=wanted, cursor=cursor))


class RemoteSession(ClientSession):
    """One conversation behind an HTTP API; structurally a `Session`."""

    def __init__(
        self,
        client: RemoteSessions,
        session_id: str,
        *,
        session_settings: SessionSettings | None = None,
        by: str | None = None,
    ) -> None:
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self._client = client
        self._by = check_by(by)
        self._path = f"{path_of(session_id)}/items"

    async def get_items(self, limit: int | None = None) -> list[Item]:
        window = effective_limit(checks.check_window(limit), self.session_settings)
        if window is not None and window <= MAX_ITEMS:
            document = await self._client._get(self._path, limit=window)
            items: list[Item] = document["items"]
            return items
        items = await self._all()
        return items if window is None else items[max(0, len(items) - window) :]

    async def add_items(self, items: list[Item]) -> None:
        checked = checks.check_items(items, limit=ANY_SIZE)
        if checked:
            await self._client._check_by(self._by)
            await self._client._transport.call("POST", self._path, body={"items": checked})

    async def pop_item(self) -> Item | None:
        await self._client._check_by(self._by)
        answer = await self._client._transport.call("POST", f"{self._path}/pop")
        item: Item | None = answer.document["item"]
        return item

    async def clear_session(self) -> None:
        await self._client._check_by(self._by)
        await self._client._transport.call("DELETE", self._path)

    async def _all(self) -> list[Item]:
        items: list[Item] = []
        try:
            async for line in self._client.export_session(self.session_id):
                document = decode(line)
                if "item" in document:
                    items.append(document["item"])
        except NotFound:
            # as in the database: a session that is not there has no items
            return []
        return items


def path_of(session_id: str) -> str:
    """Where a session is. Raises InvalidInput."""
    return f"{SESSIONS}/{segment(ids.check_session_id(session_id))}"
