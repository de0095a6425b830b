"""The verbs at random against a small model: order, one at a time, epochs, what the sweeper is told."""

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
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.conformance.desk import CRASH_LIMIT, Desk
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.model import Run, RunStatus
from turnkeeper_storage.verbs.claim import Job

T = TypeVar("T")
NAMES = ("a", "b")
NAME = st.sampled_from(NAMES)
OPEN = (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass
class ModelRun:
    run: Run
    status: RunStatus = RunStatus.QUEUED
    crashes: int = 0


@dataclass
class ModelSession:
    """`holder` has the lease, which may have run out; `zombies` had it."""

    runs: list[ModelRun] = field(default_factory=list)
    holder: Job | None = None
    is_over: bool = False
    epoch: int = 0
    zombies: list[Job] = field(default_factory=list)

    def head(self) -> ModelRun | None:
        return next((run for run in self.runs if run.status in OPEN), None)

    @property
    def is_free(self) -> bool:
        return self.holder is None or self.is_over


class Queues(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "queue.db"
        shutil.copyfile(self.template, path)
        self.loop = asyncio.Runner()
        self.database = Database(f"sqlite:///{path}")
        self.desk = Desk(self.database)
        self.model = {name: ModelSession() for name in NAMES}

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    def teardown(self) -> None:
        for session in self.model.values():
            for known in session.runs:
                events = self.do(self.desk.events(known.run))
                assert [event.n for event in events] == list(range(1, len(events) + 1))
        self.do(self.database.aclose())
        self.loop.close()
        self.folder.cleanup()

    @rule(name=NAME)
    def enqueue(self, name: str) -> None:
        session = self.model[name]
        accepted = self.do(self.desk.enqueue(name))
        assert accepted.run.seq == len(session.runs) + 1
        assert accepted.wake == session.is_free
        session.runs.append(ModelRun(accepted.run))

    @rule(name=NAME)
    def claim(self, name: str) -> None:
        session = self.model[name]
        may = session.is_free and session.head() is not None
        job = self.do(self.desk.claim(name))
        assert (job is not None) == may
        if job is not None:
            self._took(session, job)

    @rule()
    def sweep(self) -> None:
        stale = {name for name, session in self.model.items() if session.is_free and session.head()}
        jobs = {job.run.session_id: job for job in self.do(self.desk.sweep())}
        assert set(jobs) == stale
        for name, job in jobs.items():
            self._took(self.model[name], job)

    def _took(self, session: ModelSession, job: Job) -> None:
        head = session.head()
        assert head is not None
        assert job.run.id == head.run.id
        assert job.lease.epoch > session.epoch
        if session.holder is not None:
            session.zombies.append(session.holder)
            if head.status is RunStatus.RUNNING:
                head.crashes += 1
        assert job.run.crashes == head.crashes
        assert job.is_poisoned == (head.crashes >= CRASH_LIMIT)
        head.status = RunStatus.RUNNING
        session.holder, session.is_over, session.epoch = job, False, job.lease.epoch

    @rule(name=NAME, go_on=st.booleans(), status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]))
    def finish(self, name: str, go_on: bool, status: RunStatus) -> None:
        session = self.model[name]
        head = session.head()
        if session.holder is None or head is None:
            return
        head.status = status
        finished = self.do(self.desk.finish(session.holder, go_on=go_on, status=status))
        following = session.head()
        if following is not None and go_on:
            assert finished.next is not None
            assert finished.next.run.id == following.run.id
            assert finished.next.lease == session.holder.lease
            following.status = RunStatus.RUNNING
            session.holder, session.is_over = finished.next, False
        else:
            assert finished.next is None
            assert finished.wake == (following is not None)
            session.holder, session.is_over = None, False

    @rule(name=NAME)
    def release(self, name: str) -> None:
        session = self.model[name]
        if session.holder is not None:
            assert self.do(self.desk.release(session.holder.lease)) == (session.head() is not None)
            session.holder, session.is_over = None, False

    @rule(name=NAME)
    def lease_runs_out(self, name: str) -> None:
        session = self.model[name]
        if session.holder is not None:
            self.do(self.desk.crash(name))
            session.is_over = True

    @rule(name=NAME, which=st.integers(0, 30))
    def cancel(self, name: str, which: int) -> None:
        session = self.model[name]
        if not session.runs:
            return
        known = session.runs[which % len(session.runs)]
        cancelled = self.do(self.desk.cancel(known.run))
        if known.status is RunStatus.QUEUED:
            known.status = RunStatus.CANCELLED
            assert cancelled.wake == (session.is_free and session.head() is not None)
        assert cancelled.run.status is known.status

    @rule(name=NAME, write=st.sampled_from(["finish", "release"]))
    def zombie_writes(self, name: str, write: str) -> None:
        for zombie in self.model[name].zombies[-1:]:
            late: Coroutine[Any, Any, object] = self.desk.finish(zombie)
            if write == "release":
                late.close()
                late = self.desk.release(zombie.lease)
            with pytest.raises(LeaseLost):
                self.do(late)

    @rule(name=NAME)
    def heartbeat(self, name: str) -> None:
        session = self.model[name]
        if session.holder is not None:
            beat = self.do(self.desk.beat(session.holder.lease))
            assert len(beat.renewed) == 1
            session.is_over = False

    @invariant()
    def the_database_agrees(self) -> None:
        for name, session in self.model.items():
            if not session.runs:
                continue
            stored = [self.do(self.desk.run(known.run)) for known in session.runs]
            assert [run.status for run in stored] == [known.status for known in session.runs]
            assert sum(run.status is RunStatus.RUNNING for run in stored) <= 1
            row = self.do(self.desk.row(name))
            assert (row["runnable_since"] is not None) == (session.head() is not None)
            assert (row["lease_id"] is not None) == (session.holder is not None)
            assert row["epoch"] >= session.epoch


def test_the_verbs_do_what_the_model_does(sqlite_template: Path) -> None:
    class OnTemplate(Queues):
        template = sqlite_template

    run_state_machine_as_test(
        OnTemplate,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
