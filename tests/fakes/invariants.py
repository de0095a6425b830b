"""The invariants of PROTOCOL §4, checked from what a test can see when all is over.

`violations` reads the whole database, once, and gives a sentence for each thing that must not be. Give it
what else is known: the effects of tools, the model's calls, what clients were told, how many processes died.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select

from turnkeeper_storage.database import Database
from turnkeeper_storage.history_faults import find_faults
from turnkeeper_storage.items import Item, Json, decode
from turnkeeper_storage.tables import approvals, run_events, runs, session_items, sessions, tool_calls, turns
from turnkeeper_storage.unit_of_work import UnitOfWork

TERMINAL = frozenset({"completed", "failed", "cancelled"})
ENDS = frozenset(f"run.{status}" for status in TERMINAL)
UNDECIDED = frozenset({"pending"})


@dataclass(frozen=True, slots=True)
class Effect:
    """What a tool did outside, once."""

    tool: str
    run: str
    call: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known besides the database.

    `accepted`: ids of runs that a client was told of. `model_calls`: by run, how often the model was asked.
    `crashes`: how many times a process died, or stood still for longer than its lease. `retried`: calls of
    the model that went wrong by themselves. `may_wait`: runs may wait for a person at the end.
    """

    effects: Sequence[Effect] = ()
    accepted: Sequence[str] = ()
    model_calls: Mapping[str, int] = field(default_factory=dict)
    crashes: int = 0
    retried: int = 0
    not_idempotent: frozenset[str] = frozenset()
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class Pictured:
    """All rows of a database, by table."""

    sessions: list[Row[Any]]
    runs: list[Row[Any]]
    items: list[Row[Any]]
    turns: list[Row[Any]]
    calls: list[Row[Any]]
    approvals: list[Row[Any]]
    events: list[Row[Any]]


async def look(uow: UnitOfWork) -> Pictured:
    """Read everything."""

    async def rows(table: Table, *order: str) -> list[Row[Any]]:
        return list(await uow.execute(select(table).order_by(*(table.c[name] for name in order))))

    return Pictured(
        await rows(sessions, "session_key"),
        await rows(runs, "session_key", "seq"),
        await rows(session_items, "session_key", "position"),
        await rows(turns, "session_key", "run_id", "turn"),
        await rows(tool_calls, "session_key", "run_id", "turn", "position"),
        await rows(approvals, "session_key", "id"),
        await rows(run_events, "session_key", "run_id", "n"),
    )


async def picture(database: Database) -> Pictured:
    """Read everything in one transaction."""
    return await database.read(look)


def read_effects(path: Path) -> list[Effect]:
    """The effects that tools noted in a file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Effect(one["tool"], one["run"], one["call"]) for one in map(json.loads, lines)]


async def violations(database: Database, known: Known) -> list[str]:
    """Everything that must not be when all is over, in words, with the invariant that it breaks."""
    seen = await picture(database)
    return [*_liveness(seen, known), *safety(seen, known)]


def safety(seen: Pictured, known: Known) -> list[str]:
    """What must not be at any time."""
    return [
        *_order(seen),
        *_epochs(seen),
        *_answers(seen),
        *_terminal(seen),
        *_histories(seen),
        *_whole(seen),
        *_effects(seen, known),
        *_accepted(seen, known),
        *_decisions(seen),
        *_events(seen),
        *_model_calls(seen, known),
    ]


def _order(seen: Pictured) -> Iterator[str]:
    """I1: start order and item order equal seq order; runs never interleave."""
    seqs = {(row.session_key, row.id): row.seq for row in seen.runs}
    for key, of_session in _by_session(seen.runs).items():
        began = [row for row in of_session if row.started_at is not None]
        for before, after in pairwise(began):
            if before.finished_at is None or before.finished_at > after.started_at:
                yield f"I1: run {after.id} began before {before.id}, which comes first, had ended"
        if sum(row.status in ("running", "awaiting_approval") for row in of_session) > 1:
            yield f"I1: session {key} has several active runs"
    for key, of_session in _by_session(seen.items).items():
        order = [seqs.get((key, row.run_id)) for row in of_session if row.run_id is not None]
        known = [seq for seq in order if seq is not None]
        if known != sorted(known):
            yield f"I1: the items of session {key} stand in the order of the runs {known}"


def _epochs(seen: Pictured) -> Iterator[str]:
    """I2, I10: item epochs never fall by position; epochs of starts and restarts grow."""
    for key, of_session in _by_session(seen.items).items():
        epochs = [row.epoch for row in of_session if row.epoch is not None]
        if epochs != sorted(epochs):
            yield f"I2: the epochs of the items of session {key} fall: {epochs}"
    latest = {row.session_key: row.epoch for row in seen.sessions}
    for (key, run), of_run in _by_run(seen.events).items():
        epochs = [row.data["epoch"] for row in of_run if "epoch" in (row.data or {})]
        if epochs != sorted(epochs) or any(epoch > latest[key] for epoch in epochs):
            yield f"I10: the epochs of run {run} do not grow: {epochs}, its session is at {latest[key]}"


def _answers(seen: Pictured) -> Iterator[str]:
    """I2: one committed answer of the model per turn, in order, told once."""
    for (_, run), of_run in _by_run(seen.events).items():
        told = [row.data["turn"] for row in of_run if row.type == "turn.finished"]
        if told != sorted(set(told)):
            yield f"I2: the turns of run {run} were told as {told}"


def _terminal(seen: Pictured) -> Iterator[str]:
    """I3: one terminal transition per run."""
    events = _by_run(seen.events)
    for row in seen.runs:
        of_run = [event.type for event in events.get((row.session_key, row.id), [])]
        ends = [kind for kind in of_run if kind in ENDS]
        expected = [f"run.{row.status}"] if row.status in TERMINAL else []
        if ends != expected:
            yield f"I3: run {row.id} is {row.status} and its events say {ends}"
        if expected and of_run[-1] != expected[0]:
            yield f"I3: something was told of run {row.id} after its end: {of_run[-1]}"


def _liveness(seen: Pictured, known: Known) -> Iterator[str]:
    """I4, I11: every run is over, or waits for a person who can decide."""
    for row in seen.runs:
        if row.status in TERMINAL:
            continue
        head = next(
            one for one in seen.runs if one.session_key == row.session_key and one.status not in TERMINAL
        )
        open_ones = [
            one
            for one in seen.approvals
            if (one.session_key, one.run_id) == (head.session_key, head.id) and one.status in UNDECIDED
        ]
        if not known.may_wait or head.status != "awaiting_approval" or not open_ones:
            yield f"I4: run {row.id} is {row.status}, behind {head.id} which is {head.status}"
    for session in seen.sessions:
        if session.lease_id is not None:
            yield f"I11: the lease of session {session.session_key} was not given back"


def _histories(seen: Pictured) -> Iterator[str]:
    """I5: each call has exactly one output before the next turn, and no output is without its call."""
    waiting = {
        (row.session_key, row.call_id)
        for row in seen.calls
        for run in seen.runs
        if (run.session_key, run.id) == (row.session_key, row.run_id) and run.status not in TERMINAL
    }
    for key, of_session in _by_session(seen.items).items():
        history: list[Item] = [decode(row.data) for row in of_session]
        open_calls = {call for session, call in waiting if session == key}
        for fault in find_faults(history, open_calls):
            yield f"I5: session {key} has a {fault.kind} at {fault.place} ({fault.item_id})"
        yield from _turns_apart(key, history, open_calls)


def _turns_apart(key: str, history: Sequence[Item], open_calls: set[str]) -> Iterator[str]:
    unanswered: set[str] = set()
    for place, item in enumerate(history):
        kind = item.get("type")
        begins = kind == "function_call" and history[place - 1 : place] != []
        if begins and history[place - 1].get("type") != "function_call" and unanswered - open_calls:
            yield f"I5: session {key} goes on at {place} while {sorted(unanswered)} are not answered"
        if kind == "function_call":
            unanswered.add(item["call_id"])
        elif kind == "function_call_output":
            unanswered.discard(item["call_id"])


def _whole(seen: Pictured) -> Iterator[str]:
    """I2, I5: what a completed run left are its input, its turns with their outputs, and its answer, once."""
    items, made = _by_run(seen.items), _by_run(seen.turns)
    calls = _by_run(seen.calls)
    for row in seen.runs:
        if row.status != "completed":
            continue
        place = (row.session_key, row.id)
        history = [decode(one.data) for one in items.get(place, [])]
        expected: list[Item] = list(row.stored_input or row.input)
        for turn in made.get(place, []):
            asked = [one for one in calls.get(place, []) if one.turn == turn.turn]
            expected += [*turn.items, *(_output(one) for one in asked), *(turn.added or [])]
        if history[: len(expected)] != expected or len(history) != len(expected) + 1:
            yield f"I5: the items of run {row.id} are not its input, its turns and one answer"


def _output(call: Row[Any]) -> Item:
    return {"type": "function_call_output", "call_id": call.call_id, "output": call.output}


def _effects(seen: Pictured, known: Known) -> Iterator[str]:
    """I6, I7, I9: at most one effect of what must not happen twice; none of what was refused."""
    times = Counter((one.run, one.call) for one in known.effects)
    tools = {(one.run, one.call): one.tool for one in known.effects}
    for (run, call), count in times.items():
        if count > 1 and tools[run, call] in known.not_idempotent:
            yield f"I6: call {call} of {tools[run, call]} in run {run} had {count} effects"
    decided = {(row.run_id, row.call_id): row.status for row in seen.approvals}
    status = {row.id: row.status for row in seen.runs}
    for row in seen.calls:
        happened = times[row.run_id, row.call_id]
        decision = decided.get((row.run_id, row.call_id))
        is_done = row.status == "done" and status[row.run_id] == "completed"
        if known.effects and is_done and not happened and decision in (None, "approved"):
            yield f"I7: call {row.call_id} of run {row.run_id} is done without an effect"
        refused = decision in ("rejected", "expired", "cancelled")
        if refused and happened and row.status != "in_doubt" and not _was_in_doubt(seen, row):
            yield f"I9: call {row.call_id} of run {row.run_id} was refused and had an effect"


def _was_in_doubt(seen: Pictured, call: Row[Any]) -> bool:
    return any(
        row.reason == "in_doubt" and (row.run_id, row.call_id) == (call.run_id, call.call_id)
        for row in seen.approvals
    )


def _accepted(seen: Pictured, known: Known) -> Iterator[str]:
    """I8: no acknowledged enqueue is lost, and there is one run per key."""
    there = {row.id for row in seen.runs}
    for run in known.accepted:
        if run not in there:
            yield f"I8: run {run} was accepted and is not there"
    keys = Counter((row.session_key, row.idempotency_key) for row in seen.runs if row.idempotency_key)
    for (session, key), count in keys.items():
        if count > 1:
            yield f"I8: {count} runs of session {session} have the key {key}"


def _decisions(seen: Pictured) -> Iterator[str]:
    """I9: one decision of each approval, told once."""
    told = Counter(
        row.data["approval_id"] for row in seen.events if row.type == "approval.decided" and row.data
    )
    for row in seen.approvals:
        expected = 0 if row.status in UNDECIDED else 1
        if told[row.id] != expected:
            yield f"I9: approval {row.id} is {row.status} and its decision was told {told[row.id]} times"


def _events(seen: Pictured) -> Iterator[str]:
    """I12: durable event indexes have no gap."""
    events = _by_run(seen.events)
    for row in seen.runs:
        found = [event.n for event in events.get((row.session_key, row.id), [])]
        if found != list(range(1, row.next_event)):
            yield f"I12: the events of run {row.id} are {found}, the next is {row.next_event}"


def _model_calls(seen: Pictured, known: Known) -> Iterator[str]:
    """I14: model calls are at most committed turns and crashes."""
    for row in seen.runs:
        asked = known.model_calls.get(row.id, 0)
        # a call that is under way, or whose run was cancelled meanwhile, has no turn
        unanswered = row.status in ("running", "cancelled")
        if asked > row.turn + known.crashes + known.retried + unanswered:
            turns, crashes = row.turn, known.crashes
            yield f"I14: run {row.id} asked the model {asked} times for {turns} turns and {crashes} crashes"


def _by_session(rows: Sequence[Row[Any]]) -> dict[str, list[Row[Any]]]:
    grouped: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.session_key].append(row)
    return grouped


def _by_run(rows: Sequence[Row[Any]]) -> dict[tuple[str, str], list[Row[Any]]]:
    grouped: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.session_key, row.run_id].append(row)
    return grouped


def calls_of_model(arrivals: Sequence[Json]) -> dict[str, int]:
    """By run, how many requests came to a scripted model."""
    return Counter(one.run_id for one in arrivals if one.run_id is not None)
