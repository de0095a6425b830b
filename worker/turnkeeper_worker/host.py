"""The host: everything that a worker process runs on its one event loop.

It claims what bells name and what the sweeper finds, gives each session a task of its own, renews the leases
together, and gives them back at the end. It knows nothing of Celery.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import stillness_limit
from turnkeeper_storage.metrics import begin_names_at_zero, count
from turnkeeper_storage.repositories import standing_still
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.verbs.claim import Claimant, Job, claim_stale
from turnkeeper_worker.cancel_listener import CancelListener
from turnkeeper_worker.claiming import Claiming
from turnkeeper_worker.expiry import keep_time
from turnkeeper_worker.gauges import watch
from turnkeeper_worker.heartbeat import Heart
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.presence import Presence
from turnkeeper_worker.recovery import Recovery
from turnkeeper_worker.retention import Retention
from turnkeeper_worker.roster import Roster
from turnkeeper_worker.session_loop import Post, SessionLoop
from turnkeeper_worker.slots import QueueChange, Slots
from turnkeeper_worker.sweeper import sweep_for_ever

# before the grace time ends, what still works is cancelled, so that there is time to give leases back
LAST_SECONDS = 5.0
ENDED = "ended %d connections of processes that stand still in a transaction"
log = logging.getLogger(__name__)


class Host:
    """One worker process. Use all of it on one loop, but for `ring_from_thread`.

    `on_queue` is called on the loop when the wake queue should be left or joined again.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        post: Post,
        on_queue: Callable[[QueueChange], None] = lambda change: None,
        presence: Presence | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._post = post
        self._on_queue = on_queue
        self._slots = Slots(settings.concurrency)
        self._held: dict[str, HeldLease] = {}
        self._claiming = Claiming(database, self._claimant, self._claimed)
        self._unclaimed: dict[str, None] = {}
        self._rung_again: set[str] = set()
        self._loops: set[asyncio.Task[None]] = set()
        self._presence = presence or Presence()
        self._roster = Roster(database, self._presence.process, settings, lambda: self.in_work)
        self.is_stopping = False
        self._sweeping = asyncio.Lock()
        # slots that a sweep which is under way may fill
        self._reserved = 0
        self._hurry = asyncio.Event()

    @property
    def owner(self) -> str:
        """The name in which a lease that is taken now stands."""
        return self._presence.owner

    @property
    def slots(self) -> int:
        """How many sessions it works on at once at most."""
        return self._settings.concurrency

    @property
    def in_work(self) -> int:
        """Sessions in work or being claimed."""
        return len(self._held) + len(self._claiming)

    def start(self) -> None:
        """Begin to beat, to sweep and, with a Redis, to listen for cancels."""
        watch(self)
        agents = self._post.agents
        begin_names_at_zero(agents, (name for agent in agents.values() for name in agent.tools_by_name))
        settings = self._settings
        heart = Heart(self._database, self._held.values, settings.heartbeat_seconds, settings.lease_seconds)
        self._loops = {
            asyncio.create_task(heart.run(), name="turnkeeper-heartbeat"),
            asyncio.create_task(
                sweep_for_ever(self._look_around, settings.sweep_seconds, hurry=self._hurry),
                name="turnkeeper-sweeper",
            ),
        }
        if self._presence.can_lock:
            recovery = Recovery(
                self._database,
                self._presence,
                self.sweep,
                settings.recovery_seconds,
                ask_every=settings.sweep_seconds,
            )
            self._loops.add(asyncio.create_task(recovery.run(), name="turnkeeper-recovery"))
        retention = Retention(
            self._database,
            self._post.open_session,
            self.owner,
            settings.session_retention_seconds,
            audit_seconds=settings.audit_retention_seconds,
        )
        self._loops |= {
            self._with_each_sweep(retention.sweep, "deleted %d sessions: kept no longer", "retention"),
            self._with_each_sweep(self._roster.show, "forgot %d workers that were silent", "roster"),
        }
        if self._database.dialect == "postgresql":
            self._loops.add(self._with_each_sweep(self._free_rows, ENDED, "standing-still"))
        url, prefix = settings.live_url, settings.redis_prefix
        if url is not None:
            ear = CancelListener(url, prefix, self._database, self._held, self._claiming)
            self._loops.add(asyncio.create_task(ear.run(), name="turnkeeper-cancels"))

    async def _free_rows(self) -> int:
        limit = stillness_limit(self._settings.lease_seconds)
        return await self._database.read(lambda uow: standing_still.end(uow, limit))

    def _with_each_sweep(self, act: Callable[[], Awaitable[int]], said: str, name: str) -> asyncio.Task[None]:
        loop = sweep_for_ever(act, self._settings.sweep_seconds, said)
        return asyncio.create_task(loop, name=f"turnkeeper-{name}")

    def ring(self, session_key: str) -> None:
        """Look at this session when there is a slot; at once when there is one."""
        if session_key in self._held or session_key in self._claiming:
            # Its release sees the run; unless that is committed and on its way back: then look once more.
            self._rung_again.add(session_key)
            return
        if self.is_stopping:
            self._post.bell.ring(session_key)
        elif not self._has_room:
            self._unclaimed[session_key] = None
        else:
            self._claiming.ask(session_key)
            self._count()

    def ring_all(self, session_keys: Sequence[str]) -> None:
        """`ring` for what one message names; what there is no room for is for other workers."""
        for place, key in enumerate(session_keys):
            if place and self.in_work >= self._settings.concurrency:
                self._post.bell.ring(key)
            else:
                self.ring(key)

    async def _look_around(self) -> int:
        # Runs that nobody may decide on any more go on with this very sweep; the bell is for other workers.
        try:
            if not self.is_stopping:
                await keep_time(self._database, self._post.bell)
        finally:  # whatever is wrong with them: sessions without a holder are looked for
            taken = await self.sweep()
        return taken

    async def sweep(self) -> int:
        """Take stale sessions, as many as there are free slots; how many were taken."""
        async with self._sweeping:
            free = self._settings.concurrency - self.in_work
            if free <= 0 or self.is_stopping:
                return 0
            asked_at = time.monotonic()
            claimant = self._claimant()
            self._reserved = free
            try:
                jobs = await self._database.transact(
                    lambda uow: claim_stale(uow, free, claimant), "sweep", is_lasting=False
                )
                for job in jobs:
                    self._take(job, asked_at, source="sweep")
                    # whatever was rung for meanwhile: the release that is to come sees it
                    self._unclaimed.pop(job.lease.session_key, None)
                return len(jobs)
            finally:
                self._reserved = 0
                self._answer_unclaimed()

    async def stop(self, grace_seconds: float) -> None:
        """Let runs stop after their checkpoint; near the end of the grace time release the rest as it is."""
        self.is_stopping = True
        self._ring_unclaimed()
        await self._stop_sweeping()
        tasks = await self._working()
        if tasks:
            log.info("%d sessions in work: they stop after their checkpoint", len(tasks))
            await asyncio.wait(tasks, timeout=max(0.0, grace_seconds - LAST_SECONDS))
        left = [task for task in tasks if not task.done()]
        if left:
            log.warning("%d sessions are cancelled and released: the grace time ends", len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LAST_SECONDS)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._roster.leave()
        self._ring_unclaimed()  # what was rung for a session that was on its way back

    def _ring_unclaimed(self) -> None:
        for session_key in (*self._unclaimed, *self._rung_again):
            self._post.bell.ring(session_key)
        self._unclaimed.clear()
        self._rung_again.clear()

    async def _stop_sweeping(self) -> None:
        # Not in the middle of a sweep: what it claims would be held by nobody until the leases end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS), self._sweeping:
                pass
        for loop in self._loops:
            if loop.get_name() == "turnkeeper-sweeper":
                loop.cancel()

    async def _working(self) -> list[asyncio.Task[None]]:
        await self._claiming.settle(LAST_SECONDS)
        return [held.task for held in self._held.values() if held.task is not None]

    def _claimant(self) -> Claimant:
        settings = self._settings
        return Claimant(
            ids.new_lease_id(),
            self.owner,
            settings.lease_seconds,
            settings.crash_limit,
            takes_suspects=not any(held.is_suspect for held in self._held.values()),
        )

    def _claimed(self, session_key: str, job: Job | None, asked_at: float) -> None:
        if job is not None:
            self._take(job, asked_at, source="bell")
        else:
            self._freed(session_key)

    def _take(self, job: Job, asked_at: float, *, source: str) -> None:
        count("turnkeeper.worker.claims", source=source)
        if job.is_taken_over:
            count("turnkeeper.worker.takeovers")
        key = job.lease.session_key
        held = HeldLease(job.lease, asked_at + self._settings.lease_seconds, job.run.id)
        held.is_suspect = job.is_suspect
        is_suspect = job.is_suspect
        held.task = asyncio.create_task(
            SessionLoop(self._post, held, asked_at).drain(job), name=f"session:{key}"
        )
        self._held[key] = held
        held.task.add_done_callback(lambda task: self._let_go(held, was_suspect=is_suspect))
        self._count()

    def _let_go(self, held: HeldLease, *, was_suspect: bool) -> None:
        # after a lost lease the session may be held here anew
        if self._held.get(held.session_key) is held:
            del self._held[held.session_key]
            self._freed(held.session_key)
        if was_suspect and not any(other.is_suspect for other in self._held.values()):
            self._hurry.set()  # others of its kind may wait for their turn here

    def _freed(self, session_key: str) -> None:
        if session_key in self._rung_again:
            self._rung_again.discard(session_key)
            self._unclaimed[session_key] = None
        self._answer_unclaimed()
        self._count()

    @property
    def _has_room(self) -> bool:
        return self.in_work + self._reserved < self._settings.concurrency

    def _answer_unclaimed(self) -> None:
        while self._unclaimed and not self.is_stopping and self._has_room:
            key = next(iter(self._unclaimed))
            del self._unclaimed[key]
            self.ring(key)

    def _count(self) -> None:
        self._slots = replace(self._slots, used=self.in_work)
        change = self._slots.decide()
        if change is not None and not self.is_stopping:
            self._slots = replace(self._slots, is_paused=change is QueueChange.PAUSE)
            self._on_queue(change)
