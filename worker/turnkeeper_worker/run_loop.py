"""One run, from its claim or its last checkpoint to its ending.

The loop asks `next_step` what comes, does it, and commits it before it asks again. It holds nothing that a
checkpoint does not: any worker can go on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from turnkeeper_storage.crash_points import reach
from turnkeeper_storage.deadlines import exceeded
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import (
    Merged,
    Run,
    RunError,
    RunStatus,
    ToolCall,
    Turn,
)
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import checkpoint, restart
from turnkeeper_storage.verbs.finish import Ending
from turnkeeper_storage.verbs.park import Parked
from turnkeeper_worker import tracing
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.deadline import Cancelled, Deadline, Late, deadline_of, unless_ended
from turnkeeper_worker.deltas import Deltas
from turnkeeper_worker.entries import entry_at_end
from turnkeeper_worker.gates import Gatekeeper
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.history import Entry, History
from turnkeeper_worker.merge import SessionInputCallback, merge
from turnkeeper_worker.parking import Parking
from turnkeeper_worker.run_record import RunRecord
from turnkeeper_worker.runner import TurnRequest, take_turn
from turnkeeper_worker.sizes import StateSize, check_answer
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
    plan_calls,
    with_unique_call_ids,
)
from turnkeeper_worker.surroundings import Surroundings as Surroundings
from turnkeeper_worker.tool_calls import ToolCalls

T = TypeVar("T")
# the boundary of a streamed run before its first model call
INPUT = "input"
FAILED_TEXT = "The run failed before this tool ran."
log = logging.getLogger(__name__)


class Stopped(Exception):
    """The worker shuts down; all that the run did is committed, and another worker goes on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, as it was committed last, and what enters the history with it."""

    run: Run
    ending: Ending
    entry: Entry


class RunLoop:
    """Works on one run under one lease. `work` returns how it ended, and does not finish it, or its park."""

    def __init__(
        self, around: Surroundings, agent: Agent, history: History, held: HeldLease, run: Run
    ) -> None:
        self._around = around
        self._agent = agent
        self._history = history
        self._held = held
        self._state = RunRecord(run, run.parked_turn)
        self._deadline = Deadline()
        self._size = StateSize(around.settings.max_state_bytes)
        self._context: RunContext[Any] = RunContext(
            around.deps, run.id, run.session_id, run.tenant, run.options.metadata
        )
        self._deltas = Deltas(around.publisher, around.settings, run.id, held.lease.epoch)
        self._gatekeeper = Gatekeeper(agent.tools_by_name, self._context, around.threads)
        self._parking = Parking(around, agent, history, held, self._state)
        is_same_agent = run.agent_digest == agent.digest
        self._tools = ToolCalls(
            around, agent, held, self._context, self._gatekeeper, is_same_agent=is_same_agent
        )

    async def work(self) -> Outcome | Parked:
        """Go on until the run ends, or is parked with its lease given back; a failure is an ending too.

        Raises LeaseLost, DatabaseUnavailable and Stopped.
        """
        try:
            self._deadline = await deadline_of(self._around.database, self._state.run)
            await self._load()
            return await self._steps()
        except RunFailure as failure:
            return self._failed(failure.code, failure.message)
        except Cancelled:
            return self._ended(RunStatus.CANCELLED)
        except Late:
            return self._late()

    async def given_up(self, error: RunError) -> Outcome:
        """The ending of a run that is not worked on; what it did before enters the history."""
        try:
            await self._load_progress()
        except RunFailure as failure:
            return self._failed(failure.code, failure.message)
        return self._failed(error.code, error.message)

    async def poisoned(self) -> Outcome:
        """The ending of a run that crashed its workers too often."""
        times = self._state.run.crashes
        message = f"the run's worker crashed {times} times in its turn; it is given up"
        return await self.given_up(RunError("poisoned", message))

    async def _load_progress(self) -> None:
        run = self._state.run
        if run.turn:
            turns, calls = await self._around.database.read(
                lambda uow: checkpoint.load_progress(uow, run.session_key, run.id)
            )
            self._state.turns, self._state.calls = turns, calls
        if run.merged_input is not None:
            self._state.merged = Merged(run.merged_input, run.stored_input or [])
        await self._parking.complete()

    async def _load(self) -> None:
        await self._load_progress()
        if self._state.merged is None:
            if self._deadline.has_passed:  # the session may be slow to read, or not there
                raise Late
            await self._merge()

    async def _merge(self) -> None:
        run = self._state.run
        # With an intent that stands, the history may hold the run's own input already.
        standing = await self._history.standing(run, INPUT) if run.options.stream else None
        if standing is not None:
            merged = Merged(list(standing.decided), standing.items)
        else:
            callback = self._callback()
            async with self._deadline.holds():
                merged = await merge(await self._history.read(callback), run.input, callback)
        self._state.merged = merged
        if run.options.stream:
            # what stands in an intent has passed the hook
            entry = Entry.of(merged, [], 0) if standing is None else Entry(standing.items, [])
            await self._store_input(merged, entry)

    def _callback(self) -> SessionInputCallback | None:
        """The run's own, else the agent's, else the app's. Raises RunFailure `input_callback_unknown`."""
        name, known = self._state.run.options.session_input_callback, self._around.callbacks
        if name is None:
            return self._agent.session_input_callback or self._around.callback
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise RunFailure(
                "input_callback_unknown",
                f"the run asks for session_input_callback {name!r}, this worker has: {names}",
            )
        return known[name]

    async def _store_input(self, merged: Merged, entry: Entry) -> None:
        # A streamed run shows its input before the model speaks: a boundary of its own.
        run, seconds = self._state.run, self._around.settings.lease_seconds
        lease = self._held.lease
        self._size.check(merged, [], [])
        add = await self._history.prepare(lease, run.id, INPUT, entry, merged.model_input)
        store = self._history.store
        await self._commit(
            lambda uow: checkpoint.store_input(uow, lease, run, merged, add, seconds, store=store),
            "store_input",
        )
        self._state.run = replace(run, merged_input=merged.model_input, stored_input=merged.stored_input)

    async def _steps(self) -> Outcome | Parked:
        state = self._state
        while True:
            self._held.check()
            step = next_step(self._progress())
            if self._around.stopping() and isinstance(step, AskModel | RunTools):
                raise Stopped
            tracing.at(step)
            match step:
                case AskModel(turn, suffix):
                    await self._ask(turn, suffix)
                case RunTools(calls):
                    ran = await self._tools.run(calls, self._deadline)
                    state.calls = [ran.settled.get(call.call_id, call) for call in state.calls]
                    if ran.failure is not None:
                        raise ran.failure
                case Finish(_, output):
                    return self._ended(RunStatus.COMPLETED, output=output)
                case Fail(code, message, _):
                    return self._failed(code, message)
                case Cancel(_):
                    return self._ended(RunStatus.CANCELLED)
                case Park(calls):
                    parked = await self._parking.park(calls)
                    if parked is not None:
                        return parked
                    # seen under the session's lock: the run's cancel was asked for meanwhile
                    self._held.cancel_requested.set()

    def _progress(self) -> Progress:
        state = self._state
        limit = state.run.options.max_turns or self._agent.max_turns or self._around.settings.max_turns
        return Progress(
            state.turns,
            state.calls,
            limit,
            self._is_cancelled,
            self._agent.output,
            overdue=exceeded(state.run) if self._deadline.has_passed else None,
            token_limit=state.run.options.token_limit or self._agent.token_limit,
        )

    @property
    def _is_cancelled(self) -> bool:
        return self._held.cancel_requested.is_set() or self._state.run.cancel_requested

    async def _ask(self, turn: int, suffix: Sequence[Item]) -> None:
        state, settings = self._state, self._around.settings
        merged = state.merged or Merged([], [])
        self._deltas.begin(state.run.next_event - 1)
        request = TurnRequest(
            agent=self._agent,
            context=self._context,
            input=[*merged.model_input, *suffix],
            turn=turn,
            timeout=settings.model_timeout,
            retries=settings.model_retries,
            on_delta=self._deltas.on_delta if state.run.options.stream else None,
            on_restart=lambda: self._restarted(turn),
        )
        runner = self._agent.runner or self._around.runner
        outcome = await unless_ended(take_turn(runner, request), self._held.cancel_requested, self._deadline)
        reach("model.answered")
        items = with_unique_call_ids(outcome.items, turn, {call.call_id for call in state.calls})
        check_answer(items, settings.max_output_bytes)
        taken = Turn(turn, outcome.response_id, items, outcome.usage, deltas=await self._deltas.flush())
        calls = plan_calls(items, turn, self._agent.tools_by_name)
        async with self._deadline.holds():
            calls = await self._gatekeeper.judge(calls, state.run.sticky)
        if calls:  # a turn without calls is committed by the finish
            self._size.check(merged, [*state.turns, taken], state.calls)
            await self._checkpoint(taken, calls)
            self._tools.planned(calls)
        state.turns.append(taken)
        state.calls.extend(calls)

    async def _restarted(self, turn: int) -> None:
        """The model is asked again after it gave deltas: whoever follows is to discard them."""
        tracing.turn_restarted()
        run, lease, seconds = self._state.run, self._held.lease, self._around.settings.lease_seconds
        self._state.run = await self._commit(
            lambda uow: restart.restart_turn(uow, lease, run, turn, seconds), "restart"
        )
        self._deltas.begin(self._state.run.next_event - 1)

    async def _checkpoint(self, turn: Turn, calls: Sequence[ToolCall]) -> None:
        state, seconds = self._state, self._around.settings.lease_seconds
        merged = state.merged if state.run.merged_input is None else None
        state.run = await self._commit(
            lambda uow: checkpoint.checkpoint_turn(
                uow, self._held.lease, state.run, turn, calls, merged, seconds, self._agent.digest
            ),
            "checkpoint",
        )
        self._held.progressed()

    async def _commit(self, work: Callable[[UnitOfWork], Awaitable[T]], name: str) -> T:
        asked_at = time.monotonic()
        result = await self._around.database.transact(work, name)
        self._held.renewed(asked_at, self._around.settings.lease_seconds)
        return result

    def _late(self) -> Outcome:
        if self._is_cancelled:
            return self._ended(RunStatus.CANCELLED)
        return self._ended(RunStatus.FAILED, error=exceeded(self._state.run))

    def _failed(self, code: str, message: str) -> Outcome:
        return self._ended(RunStatus.FAILED, error=RunError(code, message))

    def _ended(self, status: RunStatus, *, output: object = None, error: RunError | None = None) -> Outcome:
        state = self._state
        calls = close_calls(state.calls, FAILED_TEXT) if error else close_calls(state.calls)
        entry = entry_at_end(state.brought, state.turns, calls, stored_turn=state.stored_turn)
        last = state.turns[-1] if state.turns else None
        ending = Ending(
            status,
            turn=last.turn if last else state.run.turn,
            usage=state.usage if last else state.run.usage,
            output=output,
            error=error,
            response_id=last.response_id if last else None,
            deltas=last.deltas if last else 0,
        )
        return Outcome(state.run, ending, entry)
