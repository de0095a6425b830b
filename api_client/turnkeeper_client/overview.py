"""What a client shows people: what waits and who works, and all that is known of one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from turnkeeper_client import checks
from turnkeeper_client.at_work import ToolCallSnapshot, WorkerSnapshot, workers_of
from turnkeeper_client.backend import Backend
from turnkeeper_client.events import RunEvent
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import Event, Run, Turn
from turnkeeper_storage.repositories import events, overview, run_calls, runs, turns, workers
from turnkeeper_storage.repositories.overview import Backlog, Holding, Lag
from turnkeeper_storage.repositories.run_calls import TimedCall
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import UnitOfWork

MAX_COUNTED = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """One tenant at a glance. `pending` approvals are counted up to 100; instants are the database's.

    `workers` are the installation's, as `AsyncClient.workers` gives them.
    """

    pending: int
    backlogs: tuple[Backlog, ...]
    holdings: tuple[Holding, ...]
    lag: Lag
    workers: tuple[WorkerSnapshot, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is kept of a run: what it was asked, its durable events, its turns, and their calls."""

    run: RunSnapshot
    input: tuple[Item, ...]
    streams: bool
    events: tuple[RunEvent, ...]
    turns: tuple[Turn, ...]
    calls: tuple[ToolCallSnapshot, ...]


class AsyncOverview:
    """The part of AsyncClient that looks at many things at once."""

    tenant: str
    settings: Settings
    _backend: Backend

    async def count_approvals(self, up_to: int = MAX_COUNTED) -> int:
        """How many approvals wait for a person, at most `up_to`."""
        limit = checks.check_limit(up_to)
        look = partial(overview.pending_approvals, tenant=self.tenant, up_to=limit)
        return await (await self._backend.database()).read(look)

    async def overview(self) -> Overview:
        """What waits and what is in work, of this tenant, and who works."""

        async def look(uow: UnitOfWork) -> Overview:
            holdings = await overview.holdings(uow, self.tenant)
            return Overview(
                await overview.pending_approvals(uow, self.tenant, MAX_COUNTED),
                tuple(await overview.backlogs(uow, self.tenant)),
                tuple(holdings),
                await overview.lag(uow, self.tenant),
                workers_of(await workers.list_workers(uow), holdings, self.settings.sweep_seconds),
            )

        return await (await self._backend.database()).read(look)

    async def workers(self) -> tuple[WorkerSnapshot, ...]:
        """The worker processes by name, those of all tenants, with what they hold of this one."""

        async def look(uow: UnitOfWork) -> tuple[WorkerSnapshot, ...]:
            holdings = await overview.holdings(uow, self.tenant)
            return workers_of(await workers.list_workers(uow), holdings, self.settings.sweep_seconds)

        return await (await self._backend.database()).read(look)

    async def tool_calls(self, run_id: str) -> tuple[ToolCallSnapshot, ...]:
        """The run's tool calls with their times, in the order of the model. Raises NotFound."""
        key = checks.run_key(run_id)

        async def look(uow: UnitOfWork) -> list[TimedCall] | None:
            run = await runs.get(uow, key, run_id, self.tenant)
            return None if run is None else await run_calls.list_timed(uow, key, run_id)

        calls = await (await self._backend.database()).read(look)
        if calls is None:
            raise NotFound("run", run_id[:64])
        return tuple(ToolCallSnapshot.of(call) for call in calls)

    async def run_record(self, run_id: str) -> RunRecord:
        """The run with its events, turns and calls as they stand. Raises NotFound."""
        key = checks.run_key(run_id)

        async def look(uow: UnitOfWork) -> tuple[Run | None, list[Event], list[Turn], list[TimedCall]]:
            run = await runs.get(uow, key, run_id, self.tenant)
            if run is None:
                return None, [], [], []
            told = await events.list_after(uow, key, run_id)
            made = await turns.list_turns(uow, key, run_id)
            return run, told, made, await run_calls.list_timed(uow, key, run_id)

        run, told, made, calls = await (await self._backend.database()).read(look)
        if run is None:
            raise NotFound("run", run_id[:64])
        return RunRecord(
            RunSnapshot.of(run),
            tuple(run.input),
            run.options.stream,
            tuple(RunEvent(str(e.n), e.n, e.type.value, e.data, e.run_id, e.created_at) for e in told),
            tuple(made),
            tuple(ToolCallSnapshot.of(call) for call in calls),
        )
