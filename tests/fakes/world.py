"""A whole world around a plan: workers that crash where told, a model that follows the plan, a client.

What is left of it is held against all invariants of PROTOCOL §4.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Row, text

from tests.fakes import crashing, invariants
from tests.fakes.crashing import Crash
from tests.fakes.invariants import Known
from tests.fakes.model_server import ScriptedModel
from tests.fakes.plans import follow_plan
from tests.fakes.processes import Process, Processes
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from tests.fakes.world_agents import NOT_IDEMPOTENT
from turnkeeper_client import AsyncClient, RunSnapshot
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import WaitTimeout
from turnkeeper_storage.model import ApprovalReason, RunStatus
from turnkeeper_storage.unit_of_work import UnitOfWork

# short leases: a takeover is what is waited for
QUICK = {
    "TURNKEEPER_LEASE_SECONDS": "1",
    "TURNKEEPER_HEARTBEAT_SECONDS": "0.3",
    "TURNKEEPER_SWEEP_SECONDS": "0.2",
}


@dataclass(slots=True)
class World:
    """Two workers of which the first to reach the crash dies, a client, and what is to be looked at after."""

    site: Site
    model: ScriptedModel
    client: AsyncClient
    folder: Path
    env: Mapping[str, str]
    workers: list[Process] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def start(self, **settings: str) -> Process:
        """One more worker, not waited for."""
        env = {**self.env, **settings}
        worker = self.site.processes(sys.executable, "-m", "tests.fakes.world_agents", env=env)
        self.workers.append(worker)
        return worker

    @property
    def effects(self) -> list[str]:
        """The tools that had an effect, in order."""
        return [one.tool for one in invariants.read_effects(self.folder / "effects")]

    async def run(self, message: str, session: str = "s") -> RunSnapshot:
        """Enqueue, decide on what is asked (yes; of doubts: what the effects say), and wait for the end."""
        handle = await self.client.enqueue(session, message, agent="support")
        self.accepted.append(handle.id)
        return await self.ended(handle.id)

    async def ended(self, run_id: str) -> RunSnapshot:
        while True:
            snapshot = await self._settled(run_id)
            if snapshot.status is not RunStatus.AWAITING_APPROVAL:
                return snapshot
            for approval in snapshot.approvals:
                if approval.reason is not ApprovalReason.IN_DOUBT:
                    await self.client.approve(approval.id, by="ana")
                    continue
                await eventually(lambda: self.is_available(approval.id), within=20)  # noqa: B023
                happened = approval.tool in self.effects
                outcome = "happened" if happened else "not_happened"
                output = f"{approval.tool} done" if happened else None
                await self.client.resolve(approval.id, by="ana", outcome=outcome, output=output)

    async def _settled(self, run_id: str) -> RunSnapshot:
        try:
            return await self.client.wait(run_id, 30)
        except WaitTimeout as error:
            raise AssertionError(f"{error}\n{await self._standing()}") from error

    async def _standing(self) -> str:
        """Who holds what, without contents: for a run that does not end."""
        async with self.site.database() as database:
            seen = await invariants.picture(database)
            lines = [f"session {row.session_key}: {_lease(row)}" for row in seen.sessions]
            lines += [
                f"run {row.id}: {row.status}, turn {row.turn}, crashes {row.crashes}" for row in seen.runs
            ]
            if database.dialect == "postgresql":
                lines += [str(row) for row in await database.read(_backends)]
        return "\n".join(lines)

    async def is_available(self, approval_id: str) -> bool:
        return (await self.client.approval(approval_id)).available

    async def check(self, *, crashes: int = 1) -> None:
        """All invariants of PROTOCOL §4."""
        database = Database(self.site.database_url)
        known = Known(
            effects=invariants.read_effects(self.folder / "effects"),
            accepted=self.accepted,
            model_calls=invariants.calls_of_model(self.model.arrivals),
            crashes=crashes,
            not_idempotent=NOT_IDEMPOTENT,
        )
        try:
            await eventually(lambda: _is_quiet(database), within=10)
            found = await invariants.violations(database, known)
            assert not found, "\n".join(found)
        finally:
            await database.aclose()


def _lease(row: Row[Any]) -> str:
    return (
        f"epoch {row.epoch}, owner {row.lease_owner}, lease until {row.lease_until}, "
        f"taken over {row.taken_over}, runnable since {row.runnable_since}, suspect {row.suspect}"
    )


async def _backends(uow: UnitOfWork) -> Sequence[Row[Any]]:
    asked = text(
        "SELECT now(), pid, state, wait_event, xact_start, left(query, 120) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return (await uow.execute(asked)).all()


async def _is_quiet(database: Database) -> bool:
    seen = await invariants.picture(database)
    return all(row.lease_id is None for row in seen.sessions)


@asynccontextmanager
async def world(
    database_url: str,
    redis_url: str,
    processes: Processes,
    folder: Path,
    *crashes: Crash,
    workers: int = 2,
    settings: Mapping[str, str] = {},
) -> AsyncIterator[World]:
    """So many workers, of which the first to reach a crash has it."""
    async with ScriptedModel(answer=follow_plan) as model:
        site = Site(processes, database_url, redis_url, model.base_url, settings={**QUICK, **settings})
        marks = crashing.env_of(crashes, folder / "crashes")
        env = {**site.env, "EFFECTS": str(folder / "effects"), **marks}
        async with site.client() as client:
            made = World(site, model, client, folder, env)
            for _ in range(workers):
                made.start()
            for one in made.workers:  # a model, or a proxy, may live on this very loop
                await asyncio.to_thread(ready, one)
            yield made
