"""What a client does to erase a person's data: sessions with all that they have, without a trace."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial

from turnkeeper_client import checks
from turnkeeper_client.opening import Opening
from turnkeeper_storage import ids
from turnkeeper_storage.admission import check_text
from turnkeeper_storage.deleting import erase_session
from turnkeeper_storage.errors import InvalidInput, LeaseLost, StoreMismatch, StoreUnavailable
from turnkeeper_storage.items import Json
from turnkeeper_storage.live_streams import forget_streams
from turnkeeper_storage.repositories import session_edits, session_listing
from turnkeeper_storage.repositories.session_listing import SessionFilter
from turnkeeper_storage.session_edits import check_by, erasure

# sessions between two looks at the streams in Redis
PAGE = 100


@dataclass(frozen=True, slots=True)
class NotErased:
    """A session that stands, and why: its store is away, is not the one opened here, or took too long."""

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased: how many sessions that were there, and which are left.

    `next_cursor` leads on when a `limit` was given and there are more; None at the end.
    """

    sessions: int
    left: tuple[NotErased, ...] = ()
    next_cursor: str | None = None

    def as_json(self) -> dict[str, Json]:
        return {
            "sessions": self.sessions,
            "left": [{"session_id": one.session_id, "reason": one.reason} for one in self.left],
            "next_cursor": self.next_cursor,
        }

    def __add__(self, later: Erasure) -> Erasure:
        return Erasure(self.sessions + later.sessions, (*self.left, *later.left), later.next_cursor)


@dataclass(frozen=True, slots=True)
class Whose:
    """Which sessions of a tenant: one, those whose ids begin so, those of an owner, or all."""

    session_id: str | None = None
    prefix: str | None = None
    owner: str | None = None

    @property
    def audited_prefix(self) -> str | None:
        """How the ids begin of which the audit keeps nothing either; None: only of those that were erased."""
        return None if self.owner is not None else self.prefix or ""


def whose(session_id: str | None, prefix: str | None, owner: str | None, *, everything: bool) -> Whose:
    """What is asked for. Raises InvalidInput unless it is exactly one thing."""
    named = {"session_id": session_id, "prefix": prefix, "owner": owner}
    given = [name for name, value in named.items() if value is not None] + ["everything"] * everything
    if len(given) != 1:
        raise InvalidInput(
            "session_id",
            f"{' and '.join(given)} are given" if given else "is missing, and so are the others",
            "say whose data: one of session_id, prefix, owner or everything",
        )
    for name, value in named.items():
        if value is not None:
            check_text(value, name)
    return Whose(session_id, prefix, owner)


class AsyncErasing:
    """The part of AsyncClient that erases a person's data."""

    tenant: str
    _opening: Opening

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
        """Erase sessions of this tenant: rows, items in stores outside, streams in Redis, their audit.

        Give one of `session_id`, `prefix` (of ids), `owner` or `everything`. A run in work stops at its next
        write. What cannot be erased now is named in the answer, and all else is gone. The audit tells that
        something was erased, when and `by` whom, not what. Safe to repeat. With a `limit` it ends after so
        many sessions. Raises InvalidInput, and StoreUnavailable before anything when Redis is away.
        """
        wanted, editor = whose(session_id, prefix, owner, everything=everything), check_by(by)
        most = None if limit is None else checks.check_limit(limit)
        if wanted.session_id is not None:
            return await self._erase_these([ids.check_session_id(wanted.session_id)], editor)
        erased = Erasure(0, (), None if cursor is None else check_text(cursor, "cursor"))
        while True:
            size = PAGE if most is None else min(PAGE, most)
            found, after = await self._ids_of(wanted, erased.next_cursor, size)
            page = await self._erase_these(found, editor)
            erased += Erasure(page.sessions, page.left, after)
            if after is None:
                await self._forget_audit(wanted)
                return erased
            if most is not None:
                return erased

    async def _erase_these(self, session_ids: list[str], by: str | None) -> Erasure:
        """Erase a page of sessions. Their streams go first: while Redis is away nothing is gone.

        They go once more at the end, as a worker may have gone on meanwhile.
        """
        keys = [self._opening.key(one) for one in session_ids]
        await self._forget_streams(keys)
        count, left = 0, list[NotErased]()
        for session_id in session_ids:
            try:
                count += await self._erase_one(session_id, by)
            except (LeaseLost, StoreMismatch, StoreUnavailable) as error:
                left.append(NotErased(session_id, str(error)))
        await self._forget_streams(keys)
        return Erasure(count, tuple(left))

    async def _erase_one(self, session_id: str, by: str | None) -> bool:
        database = await self._opening.backend.database()
        session = await self._opening.open(session_id)
        owner = f"erase:{socket.gethostname()}:{os.getpid()}"
        key = self._opening.key(session_id)
        return await erase_session(database, key, self.tenant, session, erasure(by), owner=owner)

    async def _ids_of(self, wanted: Whose, after: str | None, size: int) -> tuple[list[str], str | None]:
        by = SessionFilter(self.tenant, wanted.prefix, wanted.owner, after, size + 1)
        database = await self._opening.backend.database()
        rows = await database.read(partial(session_listing.search, wanted=by))
        found = [row.id for row in rows[:size]]
        return found, found[-1] if len(rows) > size else None

    async def _forget_audit(self, wanted: Whose) -> None:
        prefix = wanted.audited_prefix
        if prefix is not None:
            database = await self._opening.backend.database()
            forget = partial(session_edits.forget_gone, tenant=self.tenant, prefix=prefix)
            await database.transact(forget)

    async def _forget_streams(self, keys: list[str]) -> None:
        settings = self._opening.backend.settings
        if keys and settings.live_url is not None:
            await forget_streams(settings.live_url, settings.redis_prefix, keys)
