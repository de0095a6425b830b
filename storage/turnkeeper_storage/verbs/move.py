"""Take a parked run out as a RunState document, and put one into a session that is new."""

from __future__ import annotations

from dataclasses import replace

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InvalidInput, NotFound, NotParked, SessionNotEmpty
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Approval, Event, Lease, Run, RunStatus
from turnkeeper_storage.repositories import (
    approvals,
    boundaries,
    events,
    items,
    run_states,
    runs,
    sessions,
    turns,
)
from turnkeeper_storage.run_state import RunState
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork
from turnkeeper_storage.verbs.park import boundary_of


async def export_state(uow: UnitOfWork, key: str, run_id: str, tenant: str) -> Json:
    """The document of a run that is parked, or queued after its last decision; in a transaction that locks.

    Raises NotFound, and NotParked with the status of another run.
    """
    # under the lock: a decision between two of these reads would tear the document
    session = await sessions.lock(uow, key)
    run = await runs.get(uow, key, run_id, tenant)
    if session is None or session.tenant != tenant or run is None:
        raise NotFound("run", run_id)
    if not _is_movable(run):
        raise NotParked(run_id, run.status.value)
    state = RunState(
        session_id=run.session_id,
        tenant=run.tenant,
        store=session.store,
        run=run,
        input_digest=await run_states.input_digest(uow, key, run_id),
        turns=await turns.list_turns(uow, key, run_id),
        calls=await turns.list_calls(uow, key, run_id),
        approvals=await approvals.list_of_run(uow, key, run_id),
        events=await events.list_after(uow, key, run_id),
        stored=await run_states.stored_items(uow, key, run_id),
        hooked=session.hooked,
    )
    return state.as_json()


async def import_state(uow: UnitOfWork, document: Json, tenant: str) -> Run:
    """Put the run of a document into its session of this tenant, which must be new; the run as it stands.

    Ids stay, unless the tenant is another one: they lead to their session. It waits for the same approvals;
    one whose time is over expires. Raises UnknownStateVersion, InvalidInput, SessionNotEmpty.
    """
    state = RunState.from_json(document)
    ids.check_session_id(state.session_id)
    _check_whole(state)
    key = ids.session_key(tenant, state.session_id)
    await sessions.ensure(uow, key, tenant, state.session_id, state.store)
    if not await run_states.is_new(uow, key):
        raise SessionNotEmpty(state.session_id)
    state = _moved(state, key, tenant)
    run = state.run
    await run_states.put_run(uow, run, state.input_digest)
    await _put_progress(uow, state)
    await run_states.put_approvals(uow, state.approvals)
    await events.add(uow, key, state.events)
    parks = run.status is RunStatus.AWAITING_APPROVAL
    await run_states.place(uow, key, run.id if parks else None, hooked=state.hooked)
    await sessions.set_runnable(uow, key, not parks)
    stands = await runs.get(uow, key, run.id, tenant)
    return stands or run


def _is_movable(run: Run) -> bool:
    return run.parked_turn is not None and run.status in (RunStatus.AWAITING_APPROVAL, RunStatus.QUEUED)


def _check_whole(state: RunState) -> None:
    """Refuse what would leave a session stuck or a call decided twice."""
    waits = any(approval.is_pending for approval in state.approvals)
    calls = {call.call_id for call in state.calls}
    if not _is_movable(state.run) or waits != (state.run.status is RunStatus.AWAITING_APPROVAL):
        raise InvalidInput("document", "is of no run that waits or is queued", "give what export_state gave")
    if any(approval.call_id not in calls for approval in state.approvals):
        raise InvalidInput("document", "has an approval without its call", "give what export_state gave")
    if [turn.turn for turn in state.turns] != list(range(1, state.run.turn + 1)):
        raise InvalidInput("document", "lacks a turn of its run", "give what export_state gave")
    if state.run.parked_turn not in range(1, state.run.turn + 1):
        raise InvalidInput("document", "waits in a turn that it does not have", "give what export_state gave")
    if [event.n for event in state.events] != list(range(1, state.run.next_event)):
        raise InvalidInput("document", "lacks an event of its run", "give what export_state gave")


async def _put_progress(uow: UnitOfWork, state: RunState) -> None:
    run = state.run
    nobody = Lease(run.session_key, 0, "")
    for turn in state.turns:
        await turns.add(uow, nobody, run.id, turn)
        if turn.added:
            await turns.set_added(uow, run.session_key, run.id, turn.turn, turn.added)
    await turns.add_calls(uow, run.session_key, run.id, state.calls)
    passed = ["input"] if run.options.stream else []
    for boundary in [*passed, boundary_of(run.parked_turn or run.turn)]:
        await boundaries.pass_once(uow, run.session_key, run.id, boundary)
    uow.origin = Origin(run.id, 0, [stored.turn for stored in state.stored])
    await items.append(uow, run.session_key, [stored.item for stored in state.stored])
    uow.origin = None


def _moved(state: RunState, key: str, tenant: str) -> RunState:
    """The state with ids that lead to the session of `key`."""
    run_id = _at(state.run.id, key)
    approvals_ = [_moved_approval(approval, run_id, key, tenant) for approval in state.approvals]
    return replace(
        state,
        tenant=tenant,
        run=replace(state.run, id=run_id, session_key=key, tenant=tenant),
        approvals=approvals_,
        events=[_moved_event(event, run_id, key) for event in state.events],
    )


def _moved_approval(approval: Approval, run_id: str, key: str, tenant: str) -> Approval:
    return replace(approval, id=_at(approval.id, key), run_id=run_id, session_key=key, tenant=tenant)


def _moved_event(event: Event, run_id: str, key: str) -> Event:
    approval_id = event.data.get("approval_id")
    data = {**event.data, "approval_id": _at(approval_id, key)} if approval_id else event.data
    return replace(event, run_id=run_id, data=data)


def _at(id: str, key: str) -> str:
    """The id with the key of another session in it: its time and chance stay."""
    ids.key_of(id, kind="run" if id.startswith("run_") else "approval")
    return id[: -ids.KEY_LENGTH] + key
