"""Decisions, expiries, cancels and new runs at random on one session, against a small model.

One answer wins for each approval; the run is queued when nothing is open; events are dense; whoever loses is
told the state.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance.parking import Parking, approve, check_agreement, reject
from turnkeeper_storage.approvals import Decision
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ApprovalPending, NotParked
from turnkeeper_storage.model import Approval, ApprovalStatus, Run, RunStatus

T = TypeVar("T")
WHICH = st.integers(0, 2)
DECISIONS = st.sampled_from(
    [approve(), reject(), approve(arguments="{}"), approve(sticky=True), reject("no")]
)
OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)


@dataclass
class Asked:
    """An approval as the model has it: `late` when its time is over."""

    approval: Approval
    status: ApprovalStatus = ApprovalStatus.PENDING
    decision: Decision | None = None
    late: bool = False


@dataclass
class ModelRun:
    run: Run
    status: RunStatus
    asked: list[Asked] = field(default_factory=list)

    @property
    def open(self) -> list[Asked]:
        return [one for one in self.asked if one.status is ApprovalStatus.PENDING]

    def cancel(self) -> None:
        self.status = RunStatus.CANCELLED
        for one in self.open:
            one.status = ApprovalStatus.CANCELLED

    def settle(self, one: Asked, status: ApprovalStatus, decision: Decision | None = None) -> None:
        one.status, one.decision = status, decision
        if not self.open:
            self.status = RunStatus.QUEUED


class Approvals(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "approvals.db"
        shutil.copyfile(self.template, path)
        self.loop = asyncio.Runner()
        self.desk = Parking(Database(f"sqlite:///{path}"))
        self.runs: list[ModelRun] = []

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    def teardown(self) -> None:
        self.do(self.desk.database.aclose())
        self.loop.close()
        self.folder.cleanup()

    def head(self) -> ModelRun | None:
        return next((run for run in self.runs if run.status in OPEN), None)

    @property
    def parked(self) -> ModelRun | None:
        """The run that asked last, whatever became of it."""
        return next((run for run in reversed(self.runs) if run.asked), None)

    @precondition(lambda self: self.head() is None)
    @rule(count=st.integers(1, 3), late=st.booleans())
    def park(self, count: int, late: bool) -> None:
        names = [f"call_{n}" for n in range(count)]
        parked = self.do(self.desk.parked(*names, expires_in=3600.0))
        asked = [Asked(one) for one in parked.approvals]
        self.runs.append(ModelRun(parked.run, RunStatus.AWAITING_APPROVAL, asked))
        if late:
            self.time_is_over(0)

    @rule(which=WHICH)
    def time_is_over(self, which: int) -> None:
        run = self.parked
        if run is not None and run.asked[which % len(run.asked)].status is ApprovalStatus.PENDING:
            one = run.asked[which % len(run.asked)]
            self.do(self.desk.run_late(one.approval))
            one.late = True

    @rule(which=WHICH, decision=DECISIONS)
    def decide(self, which: int, decision: Decision) -> None:
        run = self.parked
        if run is None:
            return
        one = run.asked[which % len(run.asked)]
        before = one.status
        answer = self.do(self.desk.decide(one.approval, decision))
        if before is ApprovalStatus.PENDING and not one.late:
            assert answer.conflict is None
            self._decided(run, one, decision)
        elif before is ApprovalStatus.PENDING:
            assert answer.conflict == "expired"
            run.settle(one, ApprovalStatus.EXPIRED)
        elif one.decision is not None and answer.conflict is None:
            assert (one.decision.kind, one.decision.arguments) == (decision.kind, decision.arguments)
        else:
            assert answer.conflict == one.status.value
        assert answer.approval.status is one.status
        assert answer.wake == (run.status is RunStatus.QUEUED and not self._is_leased())

    def _is_leased(self) -> bool:
        return self.do(self.desk.row())["lease_id"] is not None

    def _decided(self, run: ModelRun, one: Asked, decision: Decision) -> None:
        approves = decision.kind.value == "approve"
        status = ApprovalStatus.APPROVED if approves else ApprovalStatus.REJECTED
        run.settle(one, status, decision)
        if decision.sticky:
            for other in [other for other in run.open if not other.late]:
                run.settle(other, status, decision)

    @rule(which=WHICH)
    def expire(self, which: int) -> None:
        run = self.parked
        if run is None:
            return
        one = run.asked[which % len(run.asked)]
        answer = self.do(self.desk.expire(one.approval))
        if one.status is ApprovalStatus.PENDING and one.late:
            assert answer.conflict is None
            run.settle(one, ApprovalStatus.EXPIRED)
        else:
            assert answer.conflict == one.status.value

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        if not self.runs:
            return
        run = self.runs[which % len(self.runs)]
        answer = self.do(self.desk.cancel(run.run))
        if run.status in (RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL):
            run.cancel()
            head = self.head()
            free = head is not None and head.status is RunStatus.QUEUED
            assert answer.wake == free
        assert answer.run.status is run.status

    @rule(on_paused=st.sampled_from(["queue", "reject", "supersede"]))
    def enqueue(self, on_paused: str) -> None:
        head = self.head()
        waits = head is not None and head.status is RunStatus.AWAITING_APPROVAL
        if waits and on_paused == "reject":
            assert head is not None
            with pytest.raises(ApprovalPending) as refused:
                self.do(self.desk.send(on_paused))
            assert refused.value.run_id == head.run.id
            assert set(refused.value.approval_ids) == {one.approval.id for one in head.open}
            return
        accepted = self.do(self.desk.send(on_paused))
        assert accepted.run.seq == len(self.runs) + 1
        if waits and on_paused == "supersede":
            assert head is not None
            assert accepted.wake
            head.cancel()
        self.runs.append(ModelRun(accepted.run, RunStatus.QUEUED))

    @rule()
    def work(self) -> None:
        """A worker takes the head and finishes it."""
        head = self.head()
        job = self.do(self.desk.claim())
        if head is None or head.status is RunStatus.AWAITING_APPROVAL:
            assert job is None
            return
        assert job is not None
        assert job.run.id == head.run.id
        if head.asked:
            self.do(self.desk.finish_resumed(job))
        else:
            self.do(self.desk.finish(job, go_on=False))
        head.status = RunStatus.COMPLETED

    @rule()
    def add_input(self) -> None:
        run = self.parked
        if run is None:
            return
        if run.status in (RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL):
            self.do(self.desk.add_input(run.run, "more"))
            return
        with pytest.raises(NotParked) as refused:
            self.do(self.desk.add_input(run.run, "more"))
        assert refused.value.status == run.status.value

    @invariant()
    def the_database_agrees(self) -> None:
        for run in self.runs:
            assert self.do(self.desk.run(run.run)).status is run.status
            if run.asked:
                stored = {one.id: one.status for one in self.do(self.desk.approvals(run.run))}
                assert stored == {one.approval.id: one.status for one in run.asked}
                self.do(check_agreement(self.desk, run.run))
        if self.runs:
            head = self.head()
            runs_now = head is not None and head.status is not RunStatus.AWAITING_APPROVAL
            assert self.do(self.desk.is_runnable()) == runs_now

    @invariant()
    def every_call_of_an_ended_run_has_its_one_output(self) -> None:
        history = self.do(self.desk.history())
        ended = [run for run in self.runs if run.asked and run.status.is_terminal]
        waiting = [run for run in self.runs if run.asked and not run.status.is_terminal]
        outputs = [item for item in history if item["type"] == "function_call_output"]
        calls = [item for item in history if item["type"] == "function_call"]
        assert len(outputs) == sum(len(run.asked) for run in ended)
        assert len(calls) == len(outputs) + sum(len(run.asked) for run in waiting)


def test_whatever_happens_at_once_one_wins_and_all_agree(sqlite_template: Path) -> None:
    class OnTemplate(Approvals):
        template = sqlite_template

    run_state_machine_as_test(
        OnTemplate,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
