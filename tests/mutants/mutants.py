"""What each mutant leaves out, and which suites are to notice it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, update

PROTOCOL = "tests/properties/test_protocol.py"
CONFORMANCE = "tests/conformance"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule`: of PROTOCOL §2, or DESIGN, that it breaks; `suites`: those to notice it, the quickest first."""

    rule: str
    says: str
    apply: Callable[[], None]
    suites: Sequence[str] = (PROTOCOL, CONFORMANCE)


def _by_fence(fence: Callable[..., Any]) -> Callable[..., Any]:
    """`leases.fenced` on a fence of the mutant's."""

    async def fenced(uow: Any, lease: Any, seconds: float, *updates: Any, **more: Any) -> Any:
        await fence(uow, lease, seconds, **more)
        found = [await uow.execute(one.statement, one.values) for one in updates]
        return [len(rows.all()) for rows in found]

    return fenced


def _and_by_fence(fence: Callable[..., Any]) -> Callable[..., Any]:
    """`leases.fence_and` on a fence of the mutant's."""

    async def fence_and(uow: Any, lease: Any, seconds: float, change: Any, **more: Any) -> Any:
        last = await fence(uow, lease, seconds, **more)
        return last, (await uow.execute(change.statement, change.values)).one_or_none()

    return fence_and


def _no_fence() -> None:
    from turnkeeper_storage.repositories import leases
    from turnkeeper_storage.tables import sessions

    async def fence(uow: Any, lease: Any, seconds: float, **more: Any) -> int:
        mine = {"lease_id": lease.lease_id, "epoch": lease.epoch}
        here = sessions.c.session_key == lease.session_key
        changed = update(sessions).where(here).values(mine).returning(sessions.c.next_seq)
        return int((await uow.execute(changed)).scalar_one()) - 1

    _set(leases, "fence", fence)
    _set(leases, "fenced", _by_fence(fence))
    _set(leases, "fence_and", _and_by_fence(fence))


def _fence_by_owner() -> None:
    from turnkeeper_storage.errors import LeaseLost
    from turnkeeper_storage.repositories import claiming, leases
    from turnkeeper_storage.tables import sessions

    owners: dict[str, str] = {}
    claim, claim_these = leases.claim, leases.claim_these

    async def remember(uow: Any, key: str, lease_id: str, owner: str, seconds: float) -> Any:
        owners[lease_id] = owner
        return await claim(uow, key, lease_id, owner, seconds)

    async def remember_these(uow: Any, keys: Any, lease_id: str, owner: str, seconds: float) -> Any:
        owners[lease_id] = owner
        return await claim_these(uow, keys, lease_id, owner, seconds)

    async def fence(uow: Any, lease: Any, seconds: float, **more: Any) -> int:
        mine = {"lease_id": lease.lease_id, "epoch": lease.epoch}
        here = sessions.c.session_key == lease.session_key
        owned = here & (sessions.c.lease_owner == owners.get(lease.lease_id))
        changed = update(sessions).where(owned).values(mine).returning(sessions.c.next_seq)
        row = (await uow.execute(changed)).one_or_none()
        if row is None:
            raise LeaseLost(lease.session_key, lease.epoch)
        return int(row[0]) - 1

    async def look_closer(*given: Any) -> None:
        return None

    _set(claiming, "claim_queued", look_closer)
    _set(leases, "claim", remember)
    _set(leases, "claim_these", remember_these)
    _set(leases, "fence", fence)
    _set(leases, "fenced", _by_fence(fence))
    _set(leases, "fence_and", _and_by_fence(fence))


def _release_unlooked() -> None:
    from turnkeeper_storage.repositories import leases

    release = leases.release

    async def blind(uow: Any, lease: Any, *, runnable: bool, to_the_back: bool = False) -> None:
        await release(uow, lease, runnable=False, to_the_back=to_the_back)

    _set(leases, "release", blind)
    _set(leases, "release_fenced", blind)


def _wake_before_commit() -> None:
    from turnkeeper_client.async_client import AsyncClient

    prepare = AsyncClient.prepare

    async def early(self: Any, request: Any) -> Any:
        new = await prepare(self, request)
        await self._backend.ring(new.session_key)
        return new

    _set(AsyncClient, "prepare", early)


def _cancel_without_wake() -> None:
    from turnkeeper_storage.verbs import decide as deciding
    from turnkeeper_storage.verbs import settling

    wake, decide = settling.wake, deciding.decide

    async def unheard(*given: Any, **more: Any) -> Any:
        return replace(await decide(*given, **more), wake=False)

    _set(deciding, "decide", unheard)

    async def silent(uow: Any, session: Any, run: Any) -> bool:
        await wake(uow, session, run)
        return False

    _set(settling, "wake", silent)


def _no_compare_and_set() -> None:
    from turnkeeper_storage import approvals as rules
    from turnkeeper_storage.model import ApprovalStatus
    from turnkeeper_storage.repositories import approvals, deciding
    from turnkeeper_storage.tables import approvals as table

    judge = rules.decide

    def anew(approval: Any, run: Any, call: Any, request: Any, **more: Any) -> Any:
        return judge(replace(approval, status=ApprovalStatus.PENDING), run, call, request, **more)

    async def write(uow: Any, decided: Any, *, in_time: bool) -> Any:
        here = (table.c.session_key == decided.session_key) & (table.c.id == decided.id)
        await uow.execute(update(table).where(here).values(status=decided.status.value))
        return decided

    async def look_closer(*given: Any) -> None:
        return None

    _set(deciding, "decide_last", look_closer)
    _set(rules, "decide", anew)
    _set(approvals, "decide", write)


def _no_started_record() -> None:
    from turnkeeper_storage.repositories import leases
    from turnkeeper_storage.verbs import checkpoint

    async def start_call(uow: Any, lease: Any, run_id: str, call: Any, tool: float, seconds: float) -> bool:
        await leases.fence(uow, lease, seconds)
        return True

    _set(checkpoint, "start_call", start_call)


def _automatic_retry() -> None:
    from turnkeeper_storage.model import CallStatus
    from turnkeeper_storage.repositories import leases
    from turnkeeper_storage.verbs import checkpoint

    load = checkpoint.load_progress

    async def again(uow: Any, key: str, run_id: str) -> Any:
        turns, calls = await load(uow, key, run_id)
        started = CallStatus.STARTED
        return turns, [replace(c, status=CallStatus.PLANNED) if c.status is started else c for c in calls]

    async def start_call(uow: Any, lease: Any, run_id: str, call: Any, tool: float, seconds: float) -> bool:
        await leases.fence(uow, lease, seconds)
        return True

    _set(checkpoint, "load_progress", again)
    _set(checkpoint, "start_call", start_call)


def _no_turn_key() -> None:
    from turnkeeper_storage.repositories import run_changes, turns
    from turnkeeper_storage.tables import tool_calls
    from turnkeeper_storage.tables import turns as table

    add = turns.add

    async def over(uow: Any, lease: Any, run_id: str, turn: Any) -> None:
        for one in (table, tool_calls):
            here = (one.c.session_key == lease.session_key) & (one.c.run_id == run_id)
            await uow.execute(delete(one).where(here & (one.c.turn == turn.turn)))
        await add(uow, lease, run_id, turn)

    _set(turns, "add", over)
    _set(run_changes, "if_before", lambda change: change)


def _no_boundary_key() -> None:
    from turnkeeper_storage.repositories import boundaries

    async def always(uow: Any, key: str, run_id: str, boundary: str) -> bool:
        return True

    async def never(uow: Any, key: str, run_id: str, boundary: str) -> None:
        return None

    _set(boundaries, "pass_once", always)
    _set(boundaries, "passed", never)


def _no_intent() -> None:
    from turnkeeper_worker import history

    async def everything(session: Any, intent: Any, now: Any) -> Any:
        return intent["items"]

    _set(history, "missing", everything)


def _no_self_check() -> None:
    from turnkeeper_worker.held import HeldLease

    _set(HeldLease, "check", lambda self, margin=0.0: None)


def _crashes_count_in_company() -> None:
    from turnkeeper_storage import transitions

    _set(transitions, "_after_crash", lambda crashes, suspect: (crashes + 1, suspect))


def _session_released_while_parked() -> None:
    from turnkeeper_storage.repositories import runs

    head = runs.head

    async def second(uow: Any, key: str) -> Any:
        from turnkeeper_storage.model import RunStatus

        first = await head(uow, key)
        if first is None or first.status is not RunStatus.AWAITING_APPROVAL:
            return first
        from sqlalchemy import select

        from turnkeeper_storage.tables import runs as table

        waits = (table.c.session_key == key) & (table.c.status == "queued")
        row = (await uow.execute(select(table).where(waits).order_by(table.c.seq).limit(1))).one_or_none()
        return first if row is None else runs.as_run(row)

    _set(runs, "head", second)


def _set(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name}: the mutant would be none"
    setattr(owner, name, value)


POISON = "tests/conformance/test_poison.py"
FENCE = "tests/conformance/test_fence.py"
OUTSIDE = "tests/faults/test_outside_stores.py"
CLIENT = "tests/unit/test_client_async.py"
MUTANTS = {
    "no-fence": Mutant("2.4", "a worker writes although its lease is another's", _no_fence),
    "fence-by-owner": Mutant("2.4", "a worker's name is enough to write", _fence_by_owner, (FENCE,)),
    "release-unlooked": Mutant("2.8", "a release does not look for waiting runs", _release_unlooked),
    "wake-before-commit": Mutant(
        "2.1", "the bell rings before the run is there", _wake_before_commit, (CLIENT,)
    ),
    "cancel-without-wake": Mutant("2.9", "decisions and cancels wake nobody", _cancel_without_wake),
    "no-compare-and-set": Mutant("2.7", "a decision looks at no other one", _no_compare_and_set),
    "parked-heads-are-passed": Mutant("2.7", "a parked head blocks nobody", _session_released_while_parked),
    "no-started-record": Mutant("2.6", "no record before what must not happen twice", _no_started_record),
    "automatic-retry": Mutant("2.6", "what was started is started again", _automatic_retry),
    "no-self-check": Mutant("2.6", "no look at one's own clock before an effect", _no_self_check),
    "no-turn-key": Mutant("2.5", "a second answer takes the place of the first", _no_turn_key),
    "no-boundary-key": Mutant("DESIGN 5", "a boundary is passed as often as it is tried", _no_boundary_key),
    "no-intent": Mutant("DESIGN 5", "a store outside is written to blindly again", _no_intent, (OUTSIDE,)),
    "crashes-count-in-company": Mutant(
        "2.13", "neighbours of a killer are condemned with it", _crashes_count_in_company, (POISON,)
    ),
}
