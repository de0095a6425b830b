"""Following and waiting: what a client's `events` and `wait` do with its database and its feeds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from turnkeeper_client.backend import Backend
from turnkeeper_client.events import Patience, RunEvent, follow
from turnkeeper_client.live_reader import Feed
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.errors import InvalidInput, NotFound, WaitTimeout
from turnkeeper_storage.live import Follower
from turnkeeper_storage.model import Event, RunStatus
from turnkeeper_storage.repositories import events
from turnkeeper_storage.repositories.events import Standing
from turnkeeper_storage.unit_of_work import UnitOfWork

# `wait` asks for a status only, so it can ask more often than a reader of events
LAST_POLL = 0.25


@dataclass(frozen=True, slots=True)
class Begun:
    """What a follower finds at first: the durable events past its cursor, and whether nothing else comes."""

    first: Sequence[Event]
    is_over: bool


class Following:
    """Follows the runs of one tenant."""

    def __init__(self, backend: Backend, tenant: str) -> None:
        self._backend = backend
        self._tenant = tenant

    async def events(
        self,
        key: str,
        run_id: str,
        after: Cursor,
        *,
        deltas: bool,
        timeout: float | None,
        begun: Begun | None = None,
    ) -> AsyncGenerator[RunEvent, None]:
        """See `AsyncClient.events`; `key` is the session's, and the arguments are checked."""
        deadline = _deadline(timeout)
        follower = Follower(after, deltas=deltas)
        begun = begun or await self.begin(key, run_id, after)
        follower.looked(begun.first)
        if begun.is_over:
            return

        async def look(last: int) -> list[Event]:
            database = await self._backend.database()
            return await database.read(lambda uow: events.list_after(uow, key, run_id, last))

        with self._feed(run_id, deltas=deltas) as feed:
            try:
                async for event in follow(run_id, follower, feed, look, deadline):
                    yield event
            except TimeoutError:
                status = await self._status(key, run_id)
                raise WaitTimeout(run_id, status.value, timeout or 0.0) from None

    async def begin(self, key: str, run_id: str, after: Cursor) -> Begun:
        """The first look. Raises NotFound, and InvalidInput for a cursor past the run's last event."""

        async def read(uow: UnitOfWork) -> tuple[Standing | None, list[Event]]:
            # in this order: what ended before the events are read has all of them
            standing = await events.standing(uow, key, run_id, self._tenant)
            return standing, await events.list_after(uow, key, run_id, after.n) if standing else []

        standing, first = await (await self._backend.database()).read(read)
        if standing is None:
            raise NotFound("run", run_id)
        if after.n > standing.last and not first:
            raise InvalidInput(
                "after", f"{after} is past the run's last event, {standing.last}", "use a cursor of this run"
            )
        return Begun(first, standing.status.is_terminal and not first)

    async def settled(
        self, key: str, run_id: str, timeout: float | None, look: Callable[[str], Awaitable[RunSnapshot]]
    ) -> RunSnapshot:
        """What `look` shows of the run once it has ended or awaits an approval.

        Raises WaitTimeout, NotFound.
        """
        deadline = _deadline(timeout)
        while True:
            await self._until_settled(key, run_id, deadline, timeout or 0.0)
            found = await look(run_id)
            # a decision between the two looks sends a run that waited on its way again
            if _is_settled(found.status):
                return found

    async def _until_settled(self, key: str, run_id: str, deadline: float | None, timeout: float) -> None:
        status: RunStatus | None = None
        patience = Patience(LAST_POLL)
        with self._feed(run_id, deltas=False) as feed:
            # one that is on its way has us look once it is there: a look before that would be one for nothing
            if not feed.is_on_its_way:
                status = await self._status(key, run_id)
            try:
                async with asyncio.timeout_at(deadline):
                    while status is None or not _is_settled(status):
                        seconds = patience.seconds(is_live=feed.is_live)
                        has_news = await feed.wait(seconds if status else min(seconds, LAST_POLL))
                        must_look, newest, _ = feed.take()
                        if newest:
                            patience.heard()
                        if has_news and not must_look and feed.settles is not None:
                            # told, and committed: nothing to ask for, or all of it
                            if feed.settles:
                                return
                            continue
                        status = await self._status(key, run_id)
            except TimeoutError:
                status = status or await self._status(key, run_id)
                if not _is_settled(status):
                    raise WaitTimeout(run_id, status.value, timeout) from None

    @contextlib.contextmanager
    def _feed(self, run_id: str, *, deltas: bool) -> Iterator[Feed]:
        feed = self._backend.feed(run_id, deltas=deltas)
        try:
            yield feed
        finally:
            feed.close()

    async def _status(self, key: str, run_id: str) -> RunStatus:
        status = await self._backend.status(key, run_id, self._tenant)
        if status is None:
            raise NotFound("run", run_id)
        return status


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


def _is_settled(status: RunStatus) -> bool:
    return status.is_terminal or status is RunStatus.AWAITING_APPROVAL
