"""What the demo claims, each claim computed from the facts and nothing else. Pure.

A proof's text holds the figures as they are, also when it fails; `faults` say what contradicts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from turnkeeper.demo.facts import CallFact, EventFact, Facts, ItemFact, RunFact
from turnkeeper.demo.proof import Proof, proof_of, rejected_calls, seconds_between
from turnkeeper.demo.takeover import asked_once, killed_in_the_middle, look_ups_known, taken_over
from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES, digest, text_of
from turnkeeper_storage.model import CallStatus, EventType, RunStatus

ENDS = frozenset({EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED})


def prove(facts: Facts) -> list[Proof]:
    """All claims, in the order in which they are told."""
    return [
        all_answered(facts),
        histories_in_order(facts),
        nothing_twice(facts),
        calls_have_outputs(facts),
        *waited_their_turn(facts),
        killed_in_the_middle(facts),
        *taken_over(facts),
        look_ups_known(facts),
        *asked_once(facts),
        events_dense(facts),
        fenced(facts),
    ]


def all_answered(facts: Facts) -> Proof:
    """Every run that the client was given is there, and is completed; no lease is held."""
    runs = {run.id: run for run in facts.runs}
    completed = [run for run in facts.runs if run.status is RunStatus.COMPLETED]
    faults = [f"{run_id} was accepted and is not there" for run_id in facts.accepted if run_id not in runs]
    faults += [f"{run.id} was never accepted" for run in facts.runs if run.id not in facts.accepted]
    faults += [f"{_name(run)} is {run.status}" for run in facts.runs if run not in completed]
    faults += [f"the session of {session.id} is still leased" for session in facts.sessions if session.owner]
    left = len(facts.accepted) - len(completed)
    text = f"{len(facts.accepted)} messages accepted, {len(completed)} answered, {left} left over"
    return proof_of(text, faults, none_if=not facts.accepted)


def histories_in_order(facts: Facts) -> Proof:
    """Each history is its session's runs in order of seq, each in one piece: question first, answer last."""
    faults: list[str] = []
    for session in facts.sessions:
        items = [item for item in facts.items if item.session == session.id]
        runs = sorted((run for run in facts.runs if run.session == session.id), key=lambda run: run.seq)
        pieces = [(run_id, list(piece)) for run_id, piece in groupby(items, key=lambda item: item.run_id)]
        if [run_id for run_id, _ in pieces] != [run.id for run in runs]:
            faults.append(f"{session.id}: the history has the runs {_seqs(pieces, runs)}")
            continue
        faults += [
            f"{_name(run)} does not go from its question to its answer"
            for run, (_, piece) in zip(runs, pieces, strict=True)
            if not _goes_from_question_to_answer(run, piece)
        ]
    text = (
        f"{len(facts.sessions)} histories, each is its messages' runs in the order they were sent, each once"
    )
    return proof_of(text, faults, none_if=not facts.items)


def nothing_twice(facts: Facts) -> Proof:
    """No position and no item stands twice in a history."""
    positions = Counter((item.session, item.position) for item in facts.items)
    items = Counter((item.session, digest(item.item)) for item in facts.items)
    faults = [f"{session}: {n} items at position {at}" for (session, at), n in positions.items() if n > 1]
    faults += [f"{session}: an item stands {n} times" for (session, _), n in items.items() if n > 1]
    return proof_of(f"{len(facts.items)} items in the histories, none stands twice", faults)


def calls_have_outputs(facts: Facts) -> Proof:
    """In the histories each planned call stands once, and its output once, later; nothing else is called."""
    called = [_call_of(item) for item in facts.items if item.item.get("type") in CALL_TYPES]
    answered = [_call_of(item) for item in facts.items if item.item.get("type") in OUTPUT_TYPES]
    planned = [_key(call) for call in facts.calls]
    rejected = rejected_calls(facts)
    faults = [f"{_short(key)} was planned once, stands {n} times" for key, n in _unequal(planned, called)]
    faults += [f"{_short(key)} has {n} outputs" for key, n in _unequal(planned, answered)]
    faults += [
        f"{_short(_key(call))} is {call.status}"
        for call in facts.calls
        if call.status is not CallStatus.DONE and _key(call) not in rejected
    ]
    faults += [f"{_short(key)} has its output before itself" for key in _reversed(facts.items)]
    return proof_of(f"{len(called)} tool calls, {len(answered)} outputs: exactly one for each", faults)


def waited_their_turn(facts: Facts) -> list[Proof]:
    """Per session: a message sent while another was in work started only when that one was answered."""
    proofs: list[Proof] = []
    for session in facts.sessions:
        runs = sorted((run for run in facts.runs if run.session == session.id), key=lambda run: run.seq)
        proofs += [_waited(before, after) for before, after in pairwise(runs)]
    return proofs


def events_dense(facts: Facts) -> Proof:
    """The events of each run are numbered from 1 without a gap; one start, one end, each turn once."""
    faults: list[str] = []
    for run in facts.runs:
        events = sorted((event for event in facts.events if event.run_id == run.id), key=lambda e: e.n)
        turns = [event.data.get("turn") for event in events if event.type is EventType.TURN_FINISHED]
        if [event.n for event in events] != list(range(1, len(events) + 1)):
            faults.append(f"{_name(run)}: events {[event.n for event in events]}")
        if turns != list(range(1, run.turn + 1)):
            faults.append(f"{_name(run)}: turns {turns} were committed, the run has {run.turn}")
        if _count(events, {EventType.STARTED}) != 1 or _count(events, ENDS) != 1:
            faults.append(f"{_name(run)} did not start once and end once")
    turns_all = sum(run.turn for run in facts.runs)
    text = (
        f"{len(facts.events)} events, numbered without a gap: {len(facts.runs)} runs began and ended once, "
        f"{turns_all} turns were committed once"
    )
    return proof_of(text, faults, none_if=not facts.events)


def fenced(facts: Facts) -> Proof:
    """Epochs never fall along a history, and none is above its session's."""
    now = {session.id: session.epoch for session in facts.sessions}
    faults = [
        f"{before.session}: epoch {after.epoch} stands after {before.epoch}"
        for before, after in pairwise(facts.items)
        if before.session == after.session and after.epoch < before.epoch
    ]
    faults += [
        f"{item.session}: an item of epoch {item.epoch}"
        for item in facts.items
        if not 1 <= item.epoch <= now.get(item.session, 0)
    ]
    highest = max(now.values(), default=0)
    text = f"epochs never fall along a history (highest: {highest}): no worker wrote after it lost a session"
    return proof_of(text, faults)


def _waited(before: RunFact, after: RunFact) -> Proof:
    name = f"{after.session}: message {after.seq}"
    if before.finished_at is None or after.started_at is None:
        return Proof(f"{name} waited its turn", ("there are no times to tell",))
    waited = seconds_between(after.created_at, after.started_at)
    apart = seconds_between(before.created_at, after.created_at)
    text = (
        f"{name} was sent {apart:.2f} s after message {before.seq}, "
        f"waited {waited:.1f} s, and started when that was answered"
    )
    faults = []
    if after.started_at < before.finished_at:
        faults.append(f"it started {seconds_between(after.started_at, before.finished_at):.3f} s too early")
    if after.created_at >= before.finished_at:
        faults.append("there was nothing to wait for: the message before it was answered already")
    return proof_of(text, faults)


def _goes_from_question_to_answer(run: RunFact, piece: Sequence[ItemFact]) -> bool:
    first, last = piece[: len(run.input)], piece[-1].item
    asked = [item.item for item in first] == list(run.input)
    return asked and last.get("role") == "assistant" and text_of(last) == run.output


def _seqs(pieces: Sequence[tuple[str | None, object]], runs: Sequence[RunFact]) -> str:
    numbers = {run.id: str(run.seq) for run in runs}
    return ", ".join(numbers.get(run_id or "", "of another session") for run_id, _ in pieces) or "none"


def _call_of(item: ItemFact) -> tuple[str, str]:
    return item.run_id or "", str(item.item.get("call_id"))


def _key(call: CallFact) -> tuple[str, str]:
    return call.run_id, call.call_id


def _unequal(
    planned: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]]
) -> list[tuple[tuple[str, str], int]]:
    """The calls that are not found as often as planned, and how often they are found."""
    expected, counted = Counter(planned), Counter(found)
    return [(key, counted[key]) for key in sorted({*planned, *found}) if counted[key] != expected[key]]


def _reversed(items: Sequence[ItemFact]) -> Iterable[tuple[str, str]]:
    called: set[tuple[str, str]] = set()
    for item in items:
        if item.item.get("type") in CALL_TYPES:
            called.add(_call_of(item))
        elif item.item.get("type") in OUTPUT_TYPES and _call_of(item) not in called:
            yield _call_of(item)


def _count(events: Sequence[EventFact], types: Iterable[EventType]) -> int:
    return sum(event.type in set(types) for event in events)


def _short(key: tuple[str, str]) -> str:
    return f"call {key[1]} of {key[0]}"


def _name(run: RunFact) -> str:
    return f"{run.session}'s message {run.seq}"
