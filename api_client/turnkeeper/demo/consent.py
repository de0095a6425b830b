"""The claims about the second act: what was followed live, and what a person let through or not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from turnkeeper.demo.facts import ApprovalFact, CallFact, Decided, Desk, Facts, RunFact, Waiting
from turnkeeper.demo.proof import Proof, counted, effect_key, proof_of, seconds_between
from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus


def prove_desk(facts: Facts, desk: Desk) -> list[Proof]:
    """All claims of the second act, in the order in which they are told."""
    return [
        *came_live(facts, desk),
        *waited_as_rows(facts, desk),
        waited_behind(facts, desk),
        *decisions(facts, desk),
    ]


def came_live(facts: Facts, desk: Desk) -> list[Proof]:
    """The pieces came one by one before the run ended, none is missing, and their text is what is stored."""
    streamed = desk.streamed
    if streamed is None:
        return []
    run = _run(facts, streamed.run_id)
    if run is None or streamed.first_after is None:
        return [Proof("an answer came live", ("no piece of it came",))]
    text = "".join(streamed.pieces)
    told = {
        int(event.data.get("turn", 0)): int(event.data.get("deltas", 0))
        for event in facts.events
        if event.run_id == run.id and event.type is EventType.TURN_FINISHED
    }
    faults = [] if text == run.output else [f"their text is not the stored answer: {text!r}"]
    faults += [f"{counted(streamed.missed, 'piece')} lost on the way"] if streamed.missed else []
    if told != dict(streamed.by_turn):
        faults.append(f"by turn the worker sent {told}, {dict(streamed.by_turn)} came")
    if len(streamed.pieces) < 2:
        faults.append("it came in one piece")
    before = streamed.ended_after - streamed.first_after
    if before <= 0:
        faults.append("the first piece came when the run had ended")
    said = (
        f"{run.session}'s answer came live in {counted(sum(told.values()), 'delta')}, the first "
        f"{streamed.first_after:.1f} s after the question and {before:.1f} s before the end; "
        f"their {len(text)} characters are the stored answer"
    )
    return [proof_of(said, faults)]


def waited_as_rows(facts: Facts, desk: Desk) -> list[Proof]:
    """Per refund, as the database had it meanwhile: no lease, the call stands last, nothing happened."""
    seen = {waiting.run_id for waiting in desk.waiting}
    unseen = [one.run_id for one in facts.approvals if one.run_id not in seen]
    proofs = [_waited_as_rows(waiting) for waiting in desk.waiting]
    proofs += [Proof(f"run {run_id} waited for a person", ("it was not seen to",)) for run_id in unseen]
    return proofs or [Proof("refunds waited for a person", ("none did",))]


def waited_behind(facts: Facts, desk: Desk) -> Proof:
    """A message that was sent between the question to the person and the decision waited its turn."""
    run = _run(facts, desk.behind)
    before = [one for one in facts.runs if run and one.session == run.session and one.seq == run.seq - 1]
    asked = [one for one in facts.approvals if before and one.run_id == before[0].id and one.decided_at]
    if run is None or run.started_at is None or not asked or before[0].finished_at is None:
        return Proof("a message waited behind a run that waits", ("there are no times to tell",))
    decided_at = max(one.decided_at for one in asked if one.decided_at)
    faults = []
    if not max(one.created_at for one in asked) <= run.created_at < decided_at:
        faults.append("it was not sent while the other waited")
    if run.started_at < before[0].finished_at:
        faults.append(f"it started {seconds_between(run.started_at, before[0].finished_at):.3f} s too early")
    if all(
        waiting.behind is not RunStatus.QUEUED
        for waiting in desk.waiting
        if waiting.run_id == asked[0].run_id
    ):
        faults.append("it was not queued meanwhile")
    text = (
        f"{run.session}'s message {run.seq} was sent {seconds_between(run.created_at, decided_at):.1f} s "
        f"before the decision on message {before[0].seq}, stayed queued, and started when that was answered"
    )
    return proof_of(text, faults)


def decisions(facts: Facts, desk: Desk) -> Iterator[Proof]:
    """Per approval: it was decided as played; an approved refund was done once, a rejected one never."""
    by_id = {decided_id: decided for decided in desk.decided for decided_id in decided.approvals}
    known = {approval.id: approval for approval in facts.approvals}
    for approval_id, approval in known.items():
        if approval_id in by_id:
            yield _decision(facts, approval, by_id[approval_id])
        else:
            yield Proof(f"{approval_id} was decided", ("nobody did in this play",))
    for approval_id in by_id.keys() - known.keys():
        yield Proof(f"{approval_id} was decided", ("there is no such approval",))


def _waited_as_rows(waiting: Waiting) -> Proof:
    faults = [] if waiting.status is RunStatus.AWAITING_APPROVAL else [f"it is {waiting.status}"]
    if waiting.owner or waiting.is_leased:
        faults.append(f"its session is leased by {waiting.owner or 'somebody'}")
    last = waiting.items[-len(waiting.calls) :]
    calls = [one.get("call_id") for one in last if one.get("type") in CALL_TYPES]
    answered = {one.get("call_id") for one in waiting.items if one.get("type") in OUTPUT_TYPES}
    faults += [f"call {one} does not stand last in the history" for one in waiting.calls if one not in calls]
    faults += [f"call {one} has an output already" for one in waiting.calls if one in answered]
    faults += [f"the shop was asked for {key} already" for key in waiting.seen]
    text = (
        f"while {waiting.session}'s refund waited: run {waiting.status.value}, "
        f"{f'leased by {waiting.owner}' if waiting.owner else 'no lease and no worker'}, "
        f"its call last in {counted(len(waiting.items), 'item')} of history, unknown to the shop"
    )
    return proof_of(text, faults, none_if=not waiting.calls)


def _decision(facts: Facts, approval: ApprovalFact, decided: Decided) -> Proof:
    call, run = _call(facts, approval), _run(facts, approval.run_id)
    if call is None or run is None:
        return Proof(f"{approval.id} was decided", ("its call or its run is not there",))
    judge = _rejected if decided.pid is None else _approved
    return judge(facts, approval, call, run, decided)


def _approved(facts: Facts, approval: ApprovalFact, call: CallFact, run: RunFact, decided: Decided) -> Proof:
    steps = _steps(facts, call)
    faults = list(_was_decided(approval, ApprovalStatus.APPROVED, decided, run))
    faults += [f"the shop saw it {' and '.join(steps) or 'not at all'}"] if steps != ["began", "done"] else []
    faults += [f"its call is {call.status}"] if call.status is not CallStatus.DONE else []
    ours = {facts.survivor.pid, facts.death.worker.pid}
    faults += ["it was approved by a worker's own process"] if decided.pid in ours else []
    faults += list(_history_differs(facts, call))
    text = (
        f"{run.session}'s refund was approved by {approval.decided_by} from another process "
        f"(pid {decided.pid}) after {_waited(approval)}, and the shop did it {_times(steps.count('done'))}"
    )
    return proof_of(text, faults)


def _rejected(facts: Facts, approval: ApprovalFact, call: CallFact, run: RunFact, decided: Decided) -> Proof:
    steps = _steps(facts, call)
    faults = list(_was_decided(approval, ApprovalStatus.REJECTED, decided, run))
    faults += [f"the shop saw it {' and '.join(steps)}"] if steps else []
    faults += [f"its call is {call.status}"] if call.status is not CallStatus.DENIED else []
    faults += list(_history_differs(facts, call))
    text = (
        f"{run.session}'s refund was rejected by {approval.decided_by} after {_waited(approval)}: the shop "
        f"did it {_times(steps.count('done'))}, the model was told, and {run.session} was answered"
    )
    return proof_of(text, faults)


def _was_decided(
    approval: ApprovalFact, status: ApprovalStatus, decided: Decided, run: RunFact
) -> Iterator[str]:
    if approval.status is not status or approval.decided_at is None:
        yield f"the approval is {approval.status}"
    if approval.decided_by != decided.by:
        yield f"it was decided by {approval.decided_by}, not {decided.by}"
    if run.status is not RunStatus.COMPLETED:
        yield f"its run is {run.status}"


def _history_differs(facts: Facts, call: CallFact) -> Iterator[str]:
    """What contradicts that the history has the call's own output, once."""
    outputs = [
        item.item.get("output")
        for item in facts.items
        if item.run_id == call.run_id
        and item.item.get("type") in OUTPUT_TYPES
        and item.item.get("call_id") == call.call_id
    ]
    if call.output is None or outputs != [call.output]:
        yield f"the history has {counted(len(outputs), 'output')} of the call, or another one than it gave"


def _steps(facts: Facts, call: CallFact) -> list[str]:
    key = effect_key(call.run_id, call.call_id)
    return [effect.step for effect in facts.effects if effect.key == key]


def _waited(approval: ApprovalFact) -> str:
    if approval.decided_at is None:
        return "no time"
    return f"{seconds_between(approval.created_at, approval.decided_at):.1f} s"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _run(facts: Facts, run_id: str) -> RunFact | None:
    return next((run for run in facts.runs if run.id == run_id), None)


def _call(facts: Facts, approval: ApprovalFact) -> CallFact | None:
    calls: Iterable[CallFact] = facts.calls
    wanted = (approval.run_id, approval.call_id)
    return next((call for call in calls if (call.run_id, call.call_id) == wanted), None)
