"""One session under one lease: its runs in order of seq up to the drain budget, then a release.

PROTOCOL 2.8.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from turnkeeper_storage.deadlines import exceeded
from turnkeeper_storage.doorbell import Rings
from turnkeeper_storage.errors import DatabaseUnavailable, LeaseLost, RunFailure, StoreUnavailable
from turnkeeper_storage.items import Json
from turnkeeper_storage.metrics import count
from turnkeeper_storage.model import Run, RunError, RunStatus, Usage
from turnkeeper_storage.run_state import check_loadable
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.claim import Job
from turnkeeper_storage.verbs.finish import BOUNDARY, Ending, Finished, finish
from turnkeeper_storage.verbs.park import Parked
from turnkeeper_storage.verbs.release import release, release_missing_agent
from turnkeeper_worker import tracing
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.deadline import deadline_of
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.history import Entry, History, Persist, Standing
from turnkeeper_worker.persisting import persisted
from turnkeeper_worker.run_loop import Outcome, RunLoop, Stopped, Surroundings

log = logging.getLogger(__name__)


# stands for an agent that this worker does not have, in a run that it only ends
ABSENT = Agent(name="absent", model="none")


@dataclass(frozen=True, slots=True)
class Post:
    """What a session's loop needs besides its session."""

    around: Surroundings
    agents: Mapping[str, Agent]
    open_session: Callable[[str, str], Session]
    bell: Rings


class SessionLoop:
    """Works a session off. `drain` returns when the lease is given back, or lost."""

    def __init__(self, post: Post, held: HeldLease, claimed_at: float | None = None) -> None:
        """`claimed_at`: the time.monotonic() at which its first run was claimed, or before."""
        self._post = post
        self._claimed_at = claimed_at
        self._held = held
        self._settings = post.around.settings
        self._since = time.monotonic()
        self._runs = 0
        # where the session's items live, as far as it is known
        self._store = ""

    async def drain(self, job: Job) -> None:
        """Work on the job and the runs after it. Never raises, but for its own cancellation."""
        following: Job | None = job
        self._store = job.store
        try:
            while following is not None:
                self._held.takes_up(following.run.id, cancel_requested=following.run.cancel_requested)
                following = await self._one(following)
        except LeaseLost:
            log.info("session %s: the lease is gone, its run goes on elsewhere", self._held.session_key)
        except DatabaseUnavailable as error:
            log.warning("session %s: %s", self._held.session_key, error)
            await self._give_back_when_possible()
        except StoreUnavailable as error:
            # No wake-up: it would be back at once. A sweeper looks again; it is no crash.
            log.warning("session %s: %s", self._held.session_key, error)
            await self._give_back_when_possible(wakes=False)
        except asyncio.CancelledError:
            if not self._held.is_lost:
                await self._give_back_when_possible()
            raise
        except Exception:
            # A fault of ours: the run stays, the lease goes, and the crash counts towards its limit.
            log.exception("session %s: left to its lease's end", self._held.session_key)

    async def _one(self, job: Job) -> Job | None:
        claimed_at, self._claimed_at = self._claimed_at, None
        content = self._settings.trace_content
        with tracing.stretch_of(job.run, job.lease.epoch, content=content, claimed_at=claimed_at):
            return await self._work_on(job)

    async def _work_on(self, job: Job) -> Job | None:
        agent = self._post.agents.get(job.run.agent)
        history = self._history(job)
        standing = await history.standing(job.run, BOUNDARY)
        if standing is not None:  # it had ended, and its worker died before it could say so
            return await self._finish(job, history, _stood(job.run, standing))
        if agent is None:
            return await self._without_agent(job, history)
        try:
            check_loadable(job.run.state_version)
        except RunFailure as failure:  # while a deploy rolls, a newer worker is there
            return await self._left_to_others(job, history, RunError(failure.code, failure.message))
        loop = RunLoop(self._post.around, agent, history, self._held, job.run)
        if job.is_poisoned:
            return await self._finish(job, history, await loop.poisoned())
        try:
            outcome = await loop.work()
        except Stopped:
            await self._give_back()
            return None
        if isinstance(outcome, Parked):  # with the lease given back
            tracing.run_parked(job.run)
            log.info("run %s waits for %d decisions", job.run.id, len(outcome.approvals))
            return None
        return await self._finish(job, history, outcome)

    def _history(self, job: Job) -> History:
        run, opened = job.run, self._post.open_session
        return History(
            lambda: opened(run.tenant, run.session_id),
            self._post.around.database,
            self._settings.lease_seconds,
            self._store,
            self._hook(run),
        )

    def _hook(self, run: Run) -> Persist | None:
        hook = self._post.around.before_persist
        return None if hook is None else partial(persisted, hook, run)

    async def _finish(self, job: Job, history: History, outcome: Outcome) -> Job | None:
        self._runs += 1
        add: AddItems | None = None
        store: str | None = None
        if outcome.entry.items:
            try:
                decided, store = _as_json(outcome.ending), history.store
                add = await history.prepare(self._held.lease, job.run.id, BOUNDARY, outcome.entry, decided)
            except RunFailure as failure:
                error = RunError(failure.code, failure.message)
                ending = Ending(RunStatus.FAILED, outcome.ending.turn, outcome.ending.usage, error=error)
                outcome, store = Outcome(outcome.run, ending, Entry([], [])), None
        with tracing.part("finish"):
            finished = await self._commit(outcome, add, store)
        self._store = store or self._store
        ending = outcome.ending
        tracing.run_ended(job.run, ending)
        if finished.next is not None:
            count("turnkeeper.worker.claims", source="finish")
        log.info(
            "run %s %s after %d turns%s",
            job.run.id,
            ending.status.value,
            ending.turn,
            f" ({ending.error.code})" if ending.error else "",
        )
        if finished.wake:
            self._post.bell.ring(self._held.session_key)
        return finished.next

    async def _commit(self, outcome: Outcome, add: AddItems | None, store: str | None) -> Finished:
        asked_at = time.monotonic()
        finished = await self._post.around.database.transact(
            lambda uow: finish(
                uow,
                self._held.lease,
                outcome.run,
                outcome.ending,
                add=add,
                go_on=self._goes_on(),
                seconds=self._settings.lease_seconds,
                crash_limit=self._settings.crash_limit,
                store=store,
                places=len(outcome.entry.items) if add is not None else 0,
            ),
            "finish",
        )
        self._held.renewed(asked_at, self._settings.lease_seconds)
        return finished

    def _goes_on(self) -> bool:
        budget = self._settings.drain_seconds
        return (
            not self._post.around.stopping()
            and self._runs < self._settings.drain_runs
            and time.monotonic() - self._since < budget
        )

    async def _without_agent(self, job: Job, history: History) -> Job | None:
        run, known = job.run, ", ".join(sorted(self._post.agents))
        message = (
            f"no worker with agent {run.agent!r} took the run within "
            f"{self._settings.agent_grace_seconds:g} s; the last one had: {known}"
        )
        if (await deadline_of(self._post.around.database, run)).has_passed:
            return await self._give_up(job, history, exceeded(run))
        return await self._left_to_others(job, history, RunError("agent_missing", message))

    async def _left_to_others(self, job: Job, history: History, error: RunError) -> Job | None:
        """Give back a run that this worker cannot go on with; it fails when no other took it in time."""
        run, settings = job.run, self._settings
        is_over = await self._post.around.database.transact(
            lambda uow: release_missing_agent(
                uow, self._held.lease, run, settings.agent_grace_seconds, settings.lease_seconds
            ),
            "release",
        )
        if not is_over:
            log.warning("run %s is left to other workers for now (%s)", run.id, error.code)
            return None
        return await self._give_up(job, history, error)

    async def _give_up(self, job: Job, history: History, error: RunError) -> Job | None:
        loop = RunLoop(self._post.around, ABSENT, history, self._held, job.run)
        return await self._finish(job, history, await loop.given_up(error))

    async def _give_back(self, *, wakes: bool = True) -> None:
        lease = self._held.lease
        wake = await self._post.around.database.transact(
            lambda uow: release(uow, lease, to_the_back=not wakes), "release"
        )
        if wake and wakes:
            self._post.bell.ring(self._held.session_key)

    async def _give_back_when_possible(self, *, wakes: bool = True) -> None:
        """Release with what is left of the lease; after that it ends by itself."""
        try:
            async with asyncio.timeout(max(0.0, self._held.deadline - time.monotonic())):
                while True:
                    try:
                        await self._give_back(wakes=wakes)
                        return
                    except DatabaseUnavailable:
                        await asyncio.sleep(0.2)
        except (LeaseLost, TimeoutError):
            log.warning("session %s: its lease was not given back", self._held.session_key)


def _as_json(ending: Ending) -> Json:
    return {
        "status": ending.status.value,
        "turn": ending.turn,
        "usage": ending.usage.as_json(),
        "output": ending.output,
        "error": ending.error.as_json() if ending.error else None,
        "response_id": ending.response_id,
    }


def _stood(run: Run, standing: Standing) -> Outcome:
    told = standing.decided
    ending = Ending(
        RunStatus(told["status"]),
        told["turn"],
        Usage.from_json(told["usage"]),
        output=told["output"],
        error=RunError(**told["error"]) if told["error"] else None,
        response_id=told["response_id"],
    )
    return Outcome(run, ending, Entry(standing.items, []))
