"""What goes on meanwhile: backends enqueue, cancel and edit, people decide, and browsers follow."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field

from tests.fakes import invariants
from tests.fakes.plans import plan
from tests.fakes.wait import pause
from tests.torture.place import Place
from turnkeeper_client import ApprovalSnapshot
from turnkeeper_storage.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound, QueueFull
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import ApprovalReason, OnPaused

TOOLS = ("look", "look", "linger", "scan", "pay", "refund", "fail")
# what anybody may be told under such faults, and is to try again later
EXPECTED = (Conflict, DatabaseUnavailable, NotFound, InvalidInput, QueueFull)


@dataclass(slots=True)
class People:
    """Until told to stop. `accepted` are the runs that a client was told of."""

    place: Place
    accepted: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)
    is_patient: bool = False

    async def until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(self._enqueue(stop, number))
            group.create_task(self._cancel(stop))
            group.create_task(self._edit(stop))
            group.create_task(self._follow(stop))

    async def decide_for_ever(self) -> None:
        """Also when the faults have stopped, so that nothing waits."""
        while True:
            with contextlib.suppress(*EXPECTED):
                for approval in (await self.place.client.approvals(limit=50)).approvals:
                    await self._decide(approval)
            await pause(0.1)

    async def _enqueue(self, stop: asyncio.Event, number: int) -> None:
        random, client = self.place.random, self.place.client
        count = 0
        while not stop.is_set():
            count += 1
            turns = [
                ",".join(random.choices(TOOLS, k=random.randint(1, 3))) for _ in range(random.randint(0, 3))
            ]
            text, key = plan(*turns, name=f"{number}.{count}"), f"key-{number}-{count}"
            session = f"s{random.randrange(self.place.options.sessions)}"
            paused = random.choice([OnPaused.QUEUE, OnPaused.QUEUE, OnPaused.SUPERSEDE, OnPaused.REJECT])
            stream = random.random() < 0.3
            # a client that heard nothing asks again with its key, and sometimes one that did
            for _ in range(1 if random.random() < 0.8 else 3):
                with contextlib.suppress(*EXPECTED):
                    run = await client.enqueue(
                        session, text, agent="support", idempotency_key=key, stream=stream, on_paused=paused
                    )
                    self.did["enqueued"] += 1
                    if run.id not in self.accepted[-20:]:
                        self.accepted.append(run.id)
            await pause(random.uniform(0.0, 0.4))

    async def _cancel(self, stop: asyncio.Event) -> None:
        random = self.place.random
        while not stop.is_set():
            if self.accepted and random.random() < 0.5:
                with contextlib.suppress(*EXPECTED):
                    await self.place.client.cancel(random.choice(self.accepted[-10:]))
                    self.did["cancelled"] += 1
            await pause(random.uniform(0.2, 1.0))

    async def _edit(self, stop: asyncio.Event) -> None:
        random = self.place.random
        while not stop.is_set():
            session = self.place.client.session(f"s{random.randrange(self.place.options.sessions)}", by="ana")
            with contextlib.suppress(*EXPECTED):
                await session.add_items([user_message("by hand")])
                self.did["edited"] += 1
            await pause(random.uniform(0.2, 0.8))

    async def _follow(self, stop: asyncio.Event) -> None:
        """Follow a run from anywhere, leave, and come back: no index twice, none missing."""
        random = self.place.random
        while not stop.is_set():
            if self.accepted:
                with contextlib.suppress(*EXPECTED, TimeoutError):
                    await self._follow_one(random.choice(self.accepted[-30:]))
                    self.did["followed"] += 1
            await pause(0.1)

    async def _follow_one(self, run_id: str) -> None:
        after, expected = "0", 1
        for _ in range(4):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.place.random.uniform(0.05, 1.5)):
                    async for event in self.place.client.events(run_id, after, deltas=False):
                        if event.n != expected:
                            self.gaps.append(f"I12: a reader of run {run_id} got {event.n}, not {expected}")
                        after, expected = event.cursor, event.n + 1
                    return

    async def _decide(self, approval: ApprovalSnapshot) -> None:
        client, random = self.place.client, self.place.random
        if approval.reason is ApprovalReason.IN_DOUBT:
            if approval.available:
                effects = invariants.read_effects(self.place.effects)
                happened = any((one.run, one.call) == (approval.run_id, approval.call_id) for one in effects)
                outcome = "happened" if happened else "not_happened"
                output = "as seen" if happened else None
                await client.resolve(approval.id, by="ana", outcome=outcome, output=output)
                self.did["resolved"] += 1
        elif self.is_patient or random.random() < 0.3:
            kind = random.random()
            sticky = random.random() < 0.2
            if kind < 0.7:
                await client.approve(approval.id, by="ana", sticky=sticky)
            else:
                await client.reject(approval.id, by="ben", reason="no", sticky=sticky)
            self.did["decided"] += 1
