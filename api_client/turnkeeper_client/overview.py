"""What a client shows people: what waits and who works, and all that is known of one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from turnkeeper_client import checks
from turnkeeper_client.backend import Backend
from turnkeeper_client.events import RunEvent
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import Event, Run, ToolCall, Turn
from turnkeeper_storage.repositories import events, overview, runs, turns
from turnkeeper_storage.repositories.overview import Backlog, Holding, Lag
from turnkeeper_storage.unit_of_work import UnitOfWork

MAX_COUNTED = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """One tenant at a glance. `pending` approvals are counted up to 100; instants are the database's."""

    pending: int
    backlogs: tuple[Backlog, ...]
    holdings: tuple[Holding, ...]
    lag: Lag


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is kept of a run: what it was asked, its durable events, its turns, and their calls."""

    run: RunSnapshot
    input: tuple[Item, ...]
    streams: bool
    events: tuple[RunEvent, ...]
    turns: tuple[Turn, ...]
    calls: tuple[ToolCall, ...]


class AsyncOverview:
    """The part of AsyncClient that looks at many things at once."""

    tenant: str
    _backend: Backend

    async def count_approvals(self, up_to: int = MAX_COUNTED) -> int:
        """How many approvals wait for a person, at most `up_to`."""
        limit = checks.check_limit(up_to)
        look = partial(overview.pending_approvals, tenant=self.tenant, up_to=limit)
        return await (await self._backend.database()).read(look)

    async def overview(self) -> Overview:
        """What waits and what is in work, of this tenant."""

        async def look(uow: UnitOfWork) -> Overview:
            return Overview(
                await overview.pending_approvals(uow, self.tenant, MAX_COUNTED),
                tuple(await overview.backlogs(uow, self.tenant)),
                tuple(await overview.holdings(uow, self.tenant)),
                await overview.lag(uow, self.tenant),
            )

        return await (await self._backend.database()).read(look)

    async def run_record(self, run_id: str) -> RunRecord:
        """The run with its events, turns and calls as they stand. Raises NotFound."""
        key = checks.run_key(run_id)

        async def look(uow: UnitOfWork) -> tuple[Run | None, list[Event], list[Turn], list[ToolCall]]:
            run = await runs.get(uow, key, run_id, self.tenant)
            if run is None:
                return None, [], [], []
            told = await events.list_after(uow, key, run_id)
            return (
                run,
                told,
                await turns.list_turns(uow, key, run_id),
                await turns.list_calls(uow, key, run_id),
            )

        run, told, made, calls = await (await self._backend.database()).read(look)
        if run is None:
            raise NotFound("run", run_id[:64])
        return RunRecord(
            RunSnapshot.of(run),
            tuple(run.input),
            run.options.stream,
            tuple(RunEvent(str(e.n), e.n, e.type.value, e.data, e.run_id, e.created_at) for e in told),
            tuple(made),
            tuple(calls),
        )
