"""The protocol at random: two workers, clients and a sweeper, transaction by transaction, on real databases.

Whatever dies, pauses, is lost or comes twice, in whatever order: the invariants of PROTOCOL §4 hold at every
step, and when the faults stop all that was accepted comes to its end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, literal, select, update

from tests import mutants
from tests.conformance.conftest import shared_postgres
from tests.conformance.desk import TENANT, key, new_run
from tests.fakes import databases, invariants
from tests.fakes.invariants import Known
from tests.fakes.plans import plan
from tests.fakes.sim_worker import NOT_IDEMPOTENT, Outside, SimWorker
from turnkeeper_storage.approvals import Decision, DecisionKind
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ApprovalPending, IdempotencyConflict, SessionBusy
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import Approval, ApprovalReason, ApprovalStatus, OnPaused, RunOptions
from turnkeeper_storage.repositories import approvals
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals as approvals_table
from turnkeeper_storage.tables import metadata
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import edit
from turnkeeper_storage.verbs.cancel import cancel
from turnkeeper_storage.verbs.decide import Decided, decide
from turnkeeper_storage.verbs.enqueue import enqueue
from turnkeeper_storage.verbs.expire import due, expire

__all__ = ["shared_postgres"]  # fixtures
T = TypeVar("T")
SESSIONS = ("a", "b")
SESSION = st.sampled_from(SESSIONS)
WORKER = st.sampled_from((0, 1))
TURN = st.sampled_from(["look", "pay", "refund", "look,pay", "refund,look", "pay,refund"])
PLANS = st.lists(TURN, max_size=2).map(lambda turns: plan(*turns))
BUSY = st.lists(TURN, min_size=1, max_size=2).map(lambda turns: plan(*turns))
LIMIT = 400
EXAMPLES = int(os.environ.get("TURNKEEPER_TEST_EXAMPLES", "20"))


class Protocol(RuleBasedStateMachine):
    """`bells` are wake-ups on their way; `unsure` are sessions of which one was lost with somebody."""

    opens: ClassVar[Callable[[Path], Database]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.database = type(self).opens(Path(self.folder.name))
        self.outside = Outside()
        self.workers = [SimWorker(f"w{number}", self.database, self.outside) for number in (0, 1)]
        self.accepted: list[str] = []
        self.crashes = 0
        self.bells: set[str] = set()
        self.unsure: set[str] = set()
        self.seen: invariants.Pictured | None = None
        self.do(self.database.transact(_empty))

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def commit(self, work: Callable[[UnitOfWork], Coroutine[Any, Any, T]], *, twice: bool) -> T:
        if twice:
            self.do(self.database.transact(work))
        return self.do(self.database.transact(work))

    @initialize(texts=st.lists(BUSY, min_size=2, max_size=4), stream=st.booleans())
    def work_is_there(self, texts: list[str], stream: bool) -> None:
        """Most of what is worth a try is in the middle of runs."""
        for number, text in enumerate(texts):
            self.enqueue(SESSIONS[number % 2], text, OnPaused.QUEUE, None, stream, False)
        self.sweep(0)

    # --- clients

    @rule(
        session=SESSION,
        text=PLANS,
        on_paused=st.sampled_from([*OnPaused, OnPaused.QUEUE]),
        name=st.none() | st.sampled_from(["k1", "k2"]),
        stream=st.booleans(),
        twice=st.booleans(),
    )
    def enqueue(
        self, session: str, text: str, on_paused: OnPaused, name: str | None, stream: bool, twice: bool
    ) -> None:
        new = replace(new_run(session, text, idempotency_key=name), options=RunOptions(stream=stream))
        try:
            accepted = self.commit(
                lambda uow: enqueue(uow, new, on_paused=on_paused, is_all=True), twice=twice
            )
        except (ApprovalPending, IdempotencyConflict):
            return
        if accepted.run.id not in self.accepted:
            self.accepted.append(accepted.run.id)
        if accepted.wake:
            self.bells.add(new.session_key)

    @precondition(lambda self: self.seen is not None and self.unended())
    @rule(which=st.integers(0, 9), twice=st.booleans())
    def cancel(self, which: int, twice: bool) -> None:
        unended = self.unended()
        session, run_id = unended[which % len(unended)]
        cancelled = self.commit(lambda uow: cancel(uow, session, run_id, TENANT), twice=twice)
        if cancelled.wake:
            self.bells.add(session)

    @precondition(lambda self: self.is_somebody_asked())
    @rule(which=st.integers(0, 9), approve=st.booleans(), sticky=st.booleans(), twice=st.booleans())
    def decide(self, which: int, approve: bool, sticky: bool, twice: bool) -> None:
        waiting = self.waiting()
        self.settle(waiting[which % len(waiting)], approve=approve, sticky=sticky, twice=twice)

    @precondition(lambda self: self.is_somebody_asked())
    @rule(approve=st.booleans(), change=st.booleans())
    def decide_and_then_otherwise(self, approve: bool, change: bool) -> None:
        """A second person is a moment later, and of another mind."""
        (approval, *_) = self.waiting()
        self.settle(approval, approve=approve, sticky=False, twice=False)
        if approval.reason is ApprovalReason.GATED:
            self.settle(approval, approve=approve is not change, sticky=False, twice=False)

    @precondition(lambda self: self.is_somebody_asked())
    @rule(session=SESSION)
    def time_to_decide_is_over(self, session: str) -> None:
        over = update(approvals_table).where(
            approvals_table.c.session_key == key(session), approvals_table.c.status == "pending"
        )
        self.do(self.database.transact(lambda uow: _execute(uow, over.values(expires_at=_past()))))

    @rule(session=SESSION)
    def edit(self, session: str) -> None:
        said = [user_message("by hand")]
        try:
            self.commit(lambda uow: edit.add_items(uow, key(session), TENANT, session, said), twice=False)
        except SessionBusy:
            return

    # --- workers

    @rule(worker=WORKER, session=SESSION, loses=st.booleans())
    def bell(self, worker: int, session: str, loses: bool) -> None:
        """Also one that is doubled, late or forged."""
        self.bells.discard(key(session))
        self.workers[worker].loses_next_answer = loses
        taken = self.do(self.workers[worker].bell(key(session)))
        self.workers[worker].loses_next_answer = False
        if not taken:  # of a suspect: given back for a sweep to find
            self.unsure |= self.suspects()

    @precondition(lambda self: self.bells)
    @rule(session=SESSION)
    def lose_bell(self, session: str) -> None:
        if key(session) in self.bells:
            self.bells.discard(key(session))
            self.unsure.add(key(session))

    @rule(worker=WORKER)
    def sweep(self, worker: int) -> None:
        for session, approval_id in self.do(self.database.read(lambda uow: due(uow, 10))):
            self.rang(self.commit(lambda uow: expire(uow, session, approval_id), twice=False))  # noqa: B023
        self.do(self.workers[worker].sweep())
        rows = self.do(self.database.read(_sessions))
        # What it left is a suspect, which it may just have found out: the next sweep knows of it. Of all
        # others nobody has to be told any more.
        waiting = [row for row in rows if row.runnable_since is not None and row.lease_id is None]
        self.unsure &= {row.session_key for row in waiting}
        self.unsure |= {row.session_key for row in waiting if row.suspect is not None}
        self.bells -= set(self.workers[worker].works)

    @precondition(lambda self: self.works())
    @rule(
        which=st.integers(0, 9),
        checks=st.booleans(),
        go_on=st.booleans(),
        loses=st.sampled_from([False, False, True]),
        times=st.integers(1, 6),
    )
    def step(self, which: int, checks: bool, go_on: bool, loses: bool, times: int) -> None:
        worker, session = self.works()[which % len(self.works())]
        for _ in range(times):
            self.step_once(worker, session, checks=checks, go_on=go_on, loses=loses)

    @precondition(lambda self: self.works())
    @rule(which=st.integers(0, 9))
    def give_back(self, which: int) -> None:
        worker, session = self.works()[which % len(self.works())]
        self.crashes += 1  # an answer of the model may go with it
        self.do(worker.give_back(session))
        self.hear(worker)

    @precondition(lambda self: self.works())
    @rule(worker=WORKER)
    def beat(self, worker: int) -> None:
        if self.workers[worker].works:
            self.do(self.workers[worker].beat())

    # --- faults

    @precondition(lambda self: self.works())
    @rule(worker=WORKER)
    def kill(self, worker: int) -> None:
        """Its leases stand until they are over."""
        if self.workers[worker].works:
            self.crashes += 1
        self.workers[worker] = SimWorker(f"w{worker}", self.database, self.outside)

    @rule(session=SESSION)
    def lease_is_over(self, session: str) -> None:
        """Its holder is dead, or stood still; that one's own clock says so too, when it looks."""
        over = update(sessions_table).where(
            sessions_table.c.session_key == key(session), sessions_table.c.lease_id.is_not(None)
        )
        self.do(self.database.transact(lambda uow: _execute(uow, over.values(lease_until=_past()))))
        for worker in self.workers:
            if key(session) in worker.works:
                worker.works[key(session)].held.deadline = 0.0
                self.crashes += 1

    @precondition(lambda self: self.works())
    @rule(which=st.integers(0, 9), steps=st.integers(0, 8), late=st.integers(1, 6))
    def somebody_takes_over_and_the_first_wakes(self, which: int, steps: int, late: int) -> None:
        """The first stood still after its check: what it does now comes in the middle of the other's work."""
        first, session = self.works()[which % len(self.works())]
        other = next(worker for worker in self.workers if worker is not first)
        self.lease_is_over(next(name for name in SESSIONS if key(name) == session))
        self.do(other.sweep())
        for _ in range(steps):
            self.step_once(other, session)
        for _ in range(late):
            self.step_once(first, session, checks=False)

    @precondition(lambda self: self.works())
    @rule(which=st.integers(0, 9), deed=st.sampled_from(["start", "effect"]), comes_back=st.booleans())
    def a_worker_is_gone_between_the_record_of_a_call_and_its_output(
        self, which: int, deed: str, comes_back: bool
    ) -> None:
        """It is killed, or stands still until others, and a person, have gone on with the run."""
        first, session = self.works()[which % len(self.works())]
        if not self.step_until(first, session, deed):
            return
        other = next(worker for worker in self.workers if worker is not first)
        self.lease_is_over(next(name for name in SESSIONS if key(name) == session))
        for _ in range(3):
            self.do(other.sweep())
            for _ in range(4):
                self.step_once(other, session)
            for approval in self.waiting():
                if approval.session_key == session:
                    self.settle(approval, approve=True, sticky=False, twice=False)
        if comes_back:
            for _ in range(2):
                self.step_once(first, session, checks=False)
        else:
            self.kill(self.workers.index(first))

    # --- what must hold at every step

    @invariant()
    def nothing_is_that_must_not_be(self) -> None:
        self.seen = seen = self.do(self.database.read(invariants.look))
        assert invariants.safety(seen, self.known(may_wait=True)) == []
        for row in seen.sessions:
            session = row.session_key
            of_session = (run for run in seen.runs if run.session_key == session)
            head = next((run for run in of_session if run.status not in invariants.TERMINAL), None)
            can_run = head is not None and head.status != "awaiting_approval"
            assert (row.runnable_since is not None) == can_run, f"I11: session {session}"
            if can_run and row.lease_id is None:
                assert session in self.bells | self.unsure, f"I11: nobody was told of session {session}"

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            found = self.do(invariants.violations(self.database, self.known()))
            assert found == []
        finally:
            self.do(self.database.aclose())
            self.runner.close()
            self.folder.cleanup()

    # --- how

    def come_to_rest(self) -> None:
        """The faults stop: a healthy worker, a sweeper, and a person who answers."""
        for session in SESSIONS:
            self.lease_is_over(session)
        worker = SimWorker("healthy", self.database, self.outside)
        for _ in range(LIMIT):
            self.do(worker.sweep())
            for session in list(worker.works):
                self.step_once(worker, session)
            for approval in self.waiting():
                self.settle(approval, approve=True, sticky=False, twice=False)
            rows = self.do(self.database.read(_sessions))
            if not worker.works and all(row.runnable_since is None for row in rows) and not self.waiting():
                return
        raise AssertionError(f"I4: it did not come to rest in {LIMIT} rounds")

    def step_until(self, worker: SimWorker, session: str, deed: str) -> bool:
        """Step until a call that must not happen twice is started, or had its effect, and has no output."""
        for _ in range(12):
            work = worker.works.get(session)
            if work is None:
                return False
            under_way = work.started - {call.call_id for call in work.calls if call.is_settled}
            if under_way & work.returned if deed == "effect" else under_way - work.returned:
                return True
            self.step_once(worker, session)
        return False

    def step_once(self, worker: SimWorker, session: str, *, loses: bool = False, **more: bool) -> None:
        if session in worker.works:
            if session in self.bells and self.is_holder(worker, session):
                self.bells.discard(session)  # it comes while the session is in work, and is dropped
            worker.loses_next_answer = loses
            self.do(worker.step(session, **more))
            worker.loses_next_answer = False
            self.hear(worker)

    def is_holder(self, worker: SimWorker, session: str) -> bool:
        """Whether the lease that stands is this worker's."""
        mine = worker.works[session].lease.lease_id
        rows = self.do(self.database.read(_sessions))
        return any(row.lease_id == mine for row in rows if row.session_key == session)

    def hear(self, worker: SimWorker) -> None:
        self.bells |= set(worker.rings)
        self.unsure |= worker.doubtful
        worker.rings.clear()
        worker.doubtful.clear()

    def works(self) -> list[tuple[SimWorker, str]]:
        """Who works on which session, or believes so."""
        return [(worker, session) for worker in self.workers for session in sorted(worker.works)]

    def unended(self) -> list[tuple[str, str]]:
        """(session, run) of what had no end when the machine looked last."""
        known = self.seen.runs if self.seen is not None else []
        return [(row.session_key, row.id) for row in known if row.status not in invariants.TERMINAL]

    def is_somebody_asked(self) -> bool:
        return self.seen is not None and any(row.status == "pending" for row in self.seen.approvals)

    def waiting(self) -> list[Approval]:
        return self.do(self.database.read(_pending))

    def settle(self, approval: Approval, *, approve: bool, sticky: bool, twice: bool) -> None:
        if approval.reason is ApprovalReason.IN_DOUBT:
            happened = self.outside.happened(approval.run_id, approval.call_id)
            kind = DecisionKind.HAPPENED if happened else DecisionKind.NOT_HAPPENED
            said = Decision(kind, "ana", output="as seen" if happened else None)
        else:
            kind = DecisionKind.APPROVE if approve else DecisionKind.REJECT
            said = Decision(kind, "ana", sticky=sticky)
        session = approval.session_key
        self.rang(
            self.commit(lambda uow: decide(uow, session, approval.id, TENANT, said, is_all=True), twice=twice)
        )

    def rang(self, decided: Decided) -> None:
        if decided.wake:
            self.bells.add(decided.run.session_key)

    def suspects(self) -> set[str]:
        return {row.session_key for row in self.do(self.database.read(_sessions)) if row.suspect is not None}

    def known(self, *, may_wait: bool = False) -> Known:
        return Known(
            effects=self.outside.effects,
            accepted=self.accepted,
            model_calls=self.outside.asked,
            crashes=self.crashes,
            not_idempotent=NOT_IDEMPOTENT,
            may_wait=may_wait,
        )


def _past() -> Any:
    return after(literal(-1.0, type_=SECONDS))


async def _execute(uow: UnitOfWork, statement: Any) -> None:
    await uow.execute(statement)


async def _sessions(uow: UnitOfWork) -> list[Any]:
    return list(await uow.execute(select(sessions_table)))


async def _pending(uow: UnitOfWork) -> list[Approval]:
    found: list[Approval] = []
    for row in await uow.execute(select(sessions_table.c.session_key)):
        for run in await uow.execute(
            select(approvals_table.c.run_id).where(approvals_table.c.session_key == row[0]).distinct()
        ):
            found += await approvals.pending(uow, row[0], run[0])
    return [one for one in found if one.status is ApprovalStatus.PENDING]


async def _empty(uow: UnitOfWork) -> None:
    for table in metadata.sorted_tables:
        await uow.execute(delete(table))


def explore(opens: Callable[[Path], Database], examples: int) -> None:
    machine = type("OnDatabase", (Protocol,), {"opens": staticmethod(opens)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            # that a mutant is caught is enough to know; the shortest way to it takes minutes
            phases=[Phase.generate] if mutants.VARIABLE in os.environ else list(Phase),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_invariants_hold_whatever_happens_on_sqlite(sqlite_template: Path) -> None:
    def opens(folder: Path) -> Database:
        path = folder / "protocol.db"
        shutil.copyfile(sqlite_template, path)
        return Database(databases.sqlite_url(path))

    explore(opens, examples=EXAMPLES)


@pytest.mark.postgres
def test_the_invariants_hold_whatever_happens_on_postgresql(shared_postgres: str) -> None:
    explore(lambda folder: Database(shared_postgres), examples=EXAMPLES // 2)
