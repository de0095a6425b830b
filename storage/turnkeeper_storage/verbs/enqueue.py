"""Enqueue: a place in the session's queue and the run's row, in one transaction (PROTOCOL 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.errors import IdempotencyConflict, NotFound
from turnkeeper_storage.model import Event, EventType, NewRun, Run
from turnkeeper_storage.repositories import events, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The run that stands. `created`: by this call; `wake`: publish a wake-up after the commit."""

    run: Run
    created: bool
    wake: bool


async def enqueue(uow: UnitOfWork, new: NewRun, *, store: str = "database") -> Enqueued:
    """Accept a run. The same idempotency key, or the same id after a lost answer, gives the same run.

    Raises IdempotencyConflict when the key belongs to a run with another input.
    """
    place = await sessions.take_seq(uow, new.session_key, new.tenant, new.session_id, store)
    # Under the row's lock, so a concurrent request with the same key is seen or has not begun.
    same = await runs.find_same(uow, new)
    if same is not None:
        await sessions.give_seq_back(uow, new.session_key)
        return await _repeat(uow, new, same, wake=place.wake)
    run = await runs.add(uow, new, place.seq)
    await events.add(uow, new.session_key, [Event(run.id, 1, EventType.QUEUED, {"seq": run.seq})])
    return Enqueued(run, created=True, wake=place.wake)


async def _repeat(uow: UnitOfWork, new: NewRun, same: tuple[str, str], *, wake: bool) -> Enqueued:
    run_id, input_digest = same
    # before any error: a caller's own transaction may survive it and commit
    await sessions.set_runnable(uow, new.session_key, await runs.head_is_runnable(uow, new.session_key))
    if input_digest != new.input_digest:
        raise IdempotencyConflict(new.idempotency_key or new.id, run_id)
    run = await runs.get(uow, new.session_key, run_id, new.tenant)
    if run is None:
        raise NotFound("run", run_id)
    return Enqueued(run, created=False, wake=wake and not run.status.is_terminal)
