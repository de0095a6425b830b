"""A worker without a process: it takes one transaction of a run at a time, and a test can come in between.

It decides as the real one does (`next_step`), by the same verbs; what its tools and its model did is noted in
`Outside`. It may die at any point, or go on although its lease is over.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.fakes.invariants import Effect
from tests.fakes.plans import answer_of, turns_of
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.items import Item, text_of
from turnkeeper_storage.model import (
    ApprovalReason,
    CallStatus,
    Lease,
    Merged,
    NewApproval,
    Run,
    RunStatus,
    ToolCall,
    Turn,
    Usage,
)
from turnkeeper_storage.repositories import items as item_repository
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork
from turnkeeper_storage.verbs import checkpoint
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.claim import Claimant, Job, claim, claim_stale
from turnkeeper_storage.verbs.finish import Ending, finish
from turnkeeper_storage.verbs.heartbeat import heartbeat
from turnkeeper_storage.verbs.park import park
from turnkeeper_storage.verbs.release import release
from turnkeeper_worker.entries import entry_at_end, entry_at_park
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.history import Entry
from turnkeeper_worker.steps import (
    AskModel,
    Cancel,
    Fail,
    Finish,
    Park,
    Progress,
    RunTools,
    close_calls,
    next_step,
)

T = TypeVar("T")
LEASE_SECONDS = 3600.0  # over only when the test says so
CRASH_LIMIT = 3
MAX_TURNS = 6
GATED = frozenset({"refund"})
NOT_IDEMPOTENT = frozenset({"pay", "refund"})
_numbers = itertools.count(1)


@dataclass(slots=True)
class Outside:
    """What cannot be taken back."""

    effects: list[Effect] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    def happened(self, run_id: str, call_id: str) -> bool:
        return any((one.run, one.call) == (run_id, call_id) for one in self.effects)


@dataclass(slots=True)
class Work:
    """A run in work: what of it is committed, as far as this worker knows, and what is not yet."""

    held: HeldLease
    run: Run
    turns: list[Turn]
    calls: list[ToolCall]
    cancelled: bool = False
    is_poisoned: bool = False
    answer: tuple[Turn, list[ToolCall]] | None = None
    started: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)

    @property
    def lease(self) -> Lease:
        return self.held.lease

    @property
    def brought(self) -> Merged | None:
        """The input that the next boundary stores."""
        return None if self.run.options.stream else Merged(self.run.input, self.run.input)


class SimWorker:
    """`rings` are sessions that it rang a bell for; `doubtful` those that it may have given back unheard."""

    def __init__(self, name: str, database: Database, outside: Outside) -> None:
        self.name = name
        self.works: dict[str, Work] = {}
        self.rings: list[str] = []
        self.doubtful: set[str] = set()
        self._database = database
        self._outside = outside
        # the next transaction is committed, and its answer lost
        self.loses_next_answer = False

    def claimant(self) -> Claimant:
        none = not any(work.held.is_suspect for work in self.works.values())
        return Claimant(ids.new_lease_id(), self.name, LEASE_SECONDS, CRASH_LIMIT, takes_suspects=none)

    async def bell(self, key: str) -> bool:
        """A wake-up arrives: whether a run was taken."""
        if key in self.works:
            return False
        claimant = self.claimant()
        job = await self._commit(lambda uow: claim(uow, key, claimant, is_all=True))
        if job is not None:
            await self._take(job)
        return job is not None

    async def sweep(self) -> int:
        claimant = self.claimant()
        jobs = await self._commit(lambda uow: claim_stale(uow, 10, claimant))
        for job in jobs:
            await self._take(job)
        return len(jobs)

    async def beat(self) -> None:
        works = list(self.works.values())
        leases = [work.lease for work in works]
        beat = await self._commit(lambda uow: heartbeat(uow, leases, LEASE_SECONDS))
        for work in works:
            key = work.lease.session_key
            if key in beat.lost:
                del self.works[key]
            elif key in beat.renewed:
                work.held.deadline = math.inf
                work.cancelled = work.cancelled or beat.cancelled.get(key) == work.run.id

    async def give_back(self, key: str) -> None:
        work = self.works.pop(key)
        try:
            if await self._commit(lambda uow: release(uow, work.lease)):
                self.rings.append(key)
        except LeaseLost:
            self.doubtful.add(key)

    async def step(self, key: str, *, checks: bool = True, go_on: bool = True) -> None:
        """One micro-step of the session's run. `checks` is False when the check was made before a pause."""
        work = self.works[key]
        try:
            if checks:
                work.held.check()
            await self._step(work, go_on)
        except LeaseLost:
            self.works.pop(key, None)
            # what was committed just now, and not heard of, may have given the lease back
            self.doubtful.add(key)

    async def _step(self, work: Work, go_on: bool) -> None:
        if work.is_poisoned:
            await self._end(work, RunStatus.FAILED, go_on)
            return
        cancelled = work.cancelled or work.run.cancel_requested
        match next_step(Progress(work.turns, work.calls, MAX_TURNS, cancelled)):
            case AskModel(turn, _):
                await self._ask(work, turn)
            case RunTools(calls):
                await self._call(work, calls[0])
            case Park(calls):
                await self._park(work, calls)
            case Finish(_, _):
                await self._end(work, RunStatus.COMPLETED, go_on)
            case Fail(_, _, _):
                await self._end(work, RunStatus.FAILED, go_on)
            case Cancel(_):
                await self._end(work, RunStatus.CANCELLED, go_on)

    async def _ask(self, work: Work, turn: int) -> None:
        run = work.run
        if run.options.stream and run.merged_input is None:
            await self._store_input(work)
        elif work.answer is None:
            self._outside.asked[work.run.id] += 1
            work.answer = _answered(work.run, turn)
        else:
            await self._answered(work, *work.answer)

    async def _store_input(self, work: Work) -> None:
        run, merged = work.run, Merged(work.run.input, work.run.input)
        entry = Entry.of(merged, [], 0)
        await self._commit(
            lambda uow: checkpoint.store_input(
                uow, work.lease, run, merged, _adds(work, entry), LEASE_SECONDS
            )
        )
        work.run = replace(run, merged_input=run.input, stored_input=run.input)

    async def _answered(self, work: Work, taken: Turn, calls: list[ToolCall]) -> None:
        if calls:
            work.run = await self._commit(lambda uow: _checkpoint(uow, work, taken, calls))
            work.held.progressed()
            work.calls.extend(calls)
        work.answer = None
        work.turns.append(taken)

    async def _call(self, work: Work, call: ToolCall) -> None:
        run_id = work.run.id
        if call.status is CallStatus.STARTED:
            self._replace(work, replace(call, status=CallStatus.IN_DOUBT))
        elif call.call_id in work.returned:
            output = f"{call.name} done"
            await self._commit(
                lambda uow: checkpoint.settle_call(
                    uow, work.lease, run_id, call.call_id, output, LEASE_SECONDS
                )
            )
            work.held.progressed()
            self._replace(work, replace(call, status=CallStatus.DONE, output=output))
        elif not call.idempotent and call.call_id not in work.started:
            first = await self._commit(
                lambda uow: checkpoint.start_call(uow, work.lease, run_id, call, 0.0, LEASE_SECONDS)
            )
            work.started.add(call.call_id)
            if not first:
                self._replace(work, replace(call, status=CallStatus.IN_DOUBT))
        else:
            if not call.idempotent:
                work.held.check(1.0)
            self._outside.effects.append(Effect(call.name, run_id, call.call_id))
            work.returned.add(call.call_id)

    async def _park(self, work: Work, calls: Sequence[ToolCall]) -> None:
        turn, run = work.turns[-1].turn, work.run
        entry = entry_at_park(work.brought, work.turns, work.calls, stored_turn=run.parked_turn)
        asked = [_question(call) for call in calls]
        parked = await self._commit(
            lambda uow: park(
                uow, work.lease, run, asked, turn=turn, add=_adds(work, entry), seconds=LEASE_SECONDS
            )
        )
        if parked is None:
            work.cancelled = True
        else:
            del self.works[work.lease.session_key]

    async def _end(self, work: Work, status: RunStatus, go_on: bool) -> None:
        key, run = work.lease.session_key, work.run
        calls = close_calls(work.calls)
        entry = entry_at_end(work.brought, work.turns, calls, stored_turn=run.parked_turn)
        turn = work.turns[-1].turn if work.turns else run.turn
        ending = Ending(status, turn, Usage(requests=turn))
        finished = await self._commit(
            lambda uow: finish(
                uow,
                work.lease,
                run,
                ending,
                add=_adds(work, entry),
                go_on=go_on,
                seconds=LEASE_SECONDS,
                crash_limit=CRASH_LIMIT,
            )
        )
        del self.works[key]
        if finished.next is not None:
            await self._take(finished.next, work.held)
        if finished.wake:
            self.rings.append(key)

    async def _take(self, job: Job, held: HeldLease | None = None) -> None:
        run = job.run
        turns, calls = await self._database.read(
            lambda uow: checkpoint.load_progress(uow, run.session_key, run.id)
        )
        held = held or HeldLease(job.lease, math.inf, run.id)
        held.is_suspect = job.is_suspect
        self.works[run.session_key] = Work(held, run, turns, calls, is_poisoned=job.is_poisoned)

    async def _commit(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        if self.loses_next_answer:
            self.loses_next_answer = False
            await self._database.transact(work)
        return await self._database.transact(work)

    def _replace(self, work: Work, changed: ToolCall) -> None:
        work.calls = [changed if call.call_id == changed.call_id else call for call in work.calls]


def _answered(run: Run, turn: int) -> tuple[Turn, list[ToolCall]]:
    text = text_of(run.input[0])
    turns = turns_of(text)
    names = turns[turn - 1] if turn <= len(turns) else []
    calls = [_planned(name, turn, place) for place, name in enumerate(names)]
    said: Item = {"type": "message", "role": "assistant", "content": answer_of(text)}
    return Turn(turn, f"resp_{next(_numbers)}", [_item(call) for call in calls] or [said], Usage()), calls


def _planned(name: str, turn: int, place: int) -> ToolCall:
    gated = name in GATED
    return ToolCall(
        f"call_{next(_numbers)}",
        turn,
        name,
        "{}",
        place,
        status=CallStatus.AWAITING if gated else CallStatus.PLANNED,
        idempotent=name not in NOT_IDEMPOTENT,
        tool_digest="digest" if gated else None,
    )


def _item(call: ToolCall) -> Item:
    return {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": "{}"}


def _question(call: ToolCall) -> NewApproval:
    reason = ApprovalReason.IN_DOUBT if call.status is CallStatus.IN_DOUBT else ApprovalReason.GATED
    digest = call.tool_digest or "digest"
    return NewApproval(
        call.call_id, call.turn, call.name, call.arguments, reason, digest, "agent", expires_in=3600.0
    )


async def _checkpoint(uow: UnitOfWork, work: Work, taken: Turn, calls: list[ToolCall]) -> Run:
    merged = Merged(work.run.input, work.run.input) if work.run.merged_input is None else None
    return await checkpoint.checkpoint_turn(
        uow, work.lease, work.run, taken, calls, merged, LEASE_SECONDS, "agent"
    )


def _adds(work: Work, entry: Entry) -> AddItems | None:
    if not entry.items:
        return None

    async def add(uow: UnitOfWork) -> None:
        uow.origin = Origin(work.run.id, work.lease.epoch, entry.turns)
        await item_repository.append(uow, work.lease.session_key, entry.items)
        uow.origin = None

    return add


__all__ = ["NOT_IDEMPOTENT", "Outside", "SimWorker", "Work"]
