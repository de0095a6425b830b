"""What the demo claims of its second act must fail when the facts say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from turnkeeper.demo import consent, proofs, takeover
from turnkeeper.demo.facts import (
    ApprovalFact,
    CallFact,
    Death,
    Decided,
    Desk,
    Effect,
    EventFact,
    Facts,
    ItemFact,
    RunFact,
    SessionFact,
    Streamed,
    Waiting,
    Worker,
)
from turnkeeper.demo.proof import Proof
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Worker("A", 1), Worker("B", 2)
COMMAND = 3
ANA, BEN = "ana@shop.example", "ben@shop.example"
DENIED = "Tool execution was not approved. Reason: too much"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run(id: str, session: str, seq: int, sent: float, started: float, ended: float) -> RunFact:
    answer = "I can help." if session == "eva" else f"{id} is answered."
    return RunFact(
        id=id,
        session=session,
        seq=seq,
        status=RunStatus.COMPLETED,
        turn=1 if id in ("live", "behind") else 2,
        input=[user_message(f"{id}?")],
        output=answer,
        created_at=at(sent),
        started_at=at(started),
        finished_at=at(ended),
    )


def call(call_id: str) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": "refund", "arguments": "{}"}


def output(call_id: str, text: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def piece(position: int, session: str, run_id: str, item: Item) -> ItemFact:
    return ItemFact(session, position, run_id, 1, item)


def waits(session: str, run_id: str, call_id: str) -> Waiting:
    return Waiting(
        session=session,
        run_id=run_id,
        status=RunStatus.AWAITING_APPROVAL,
        owner=None,
        is_leased=False,
        calls=[call_id],
        items=[user_message(f"{run_id}?"), call(call_id)],
        seen=[],
        behind=RunStatus.QUEUED,
    )


def a_good_desk() -> Desk:
    """Eva followed her answer; fay's refund was approved by a command, gus's was rejected."""
    return Desk(
        streamed=Streamed("live", ("I", " can", " help."), ((1, 3),), 0, 0.4, 1.9),
        waiting=[waits("fay", "yes", "c1"), waits("gus", "no", "c2")],
        decided=[Decided(["apr-1"], ANA, COMMAND), Decided(["apr-2"], BEN, None)],
        behind="behind",
    )


def good_facts() -> Facts:
    return Facts(
        accepted=["live", "yes", "behind", "no"],
        sessions=[SessionFact(name, 1, None) for name in ("eva", "fay", "gus")],
        runs=[
            run("live", "eva", 1, 0, 0, 2),
            run("yes", "fay", 1, 2, 2, 8),
            run("behind", "fay", 2, 3, 8, 9),
            run("no", "gus", 1, 2, 2, 9),
        ],
        items=[
            piece(1, "fay", "yes", user_message("yes?")),
            piece(2, "fay", "yes", call("c1")),
            piece(3, "fay", "yes", output("c1", "paid")),
            piece(1, "gus", "no", user_message("no?")),
            piece(2, "gus", "no", call("c2")),
            piece(3, "gus", "no", output("c2", DENIED)),
        ],
        calls=[
            CallFact("yes", "c1", 1, CallStatus.DONE, "paid"),
            CallFact("no", "c2", 1, CallStatus.DENIED, DENIED),
        ],
        events=[EventFact("live", 3, EventType.TURN_FINISHED, {"turn": 1, "deltas": 3}, at(2))],
        effects=[Effect("began", "yes:c1", B.pid), Effect("done", "yes:c1", B.pid)],
        death=Death(A, at(-5), []),
        survivor=B,
        approvals=[
            ApprovalFact("apr-1", "yes", "c1", ApprovalStatus.APPROVED, ANA, at(2.5), at(6)),
            ApprovalFact("apr-2", "no", "c2", ApprovalStatus.REJECTED, BEN, at(2.5), at(7)),
        ],
    )


Play = tuple[Facts, Desk]
Tamper = Callable[[Facts, Desk], Play]
Claim = Callable[[Facts, Desk], list[Proof]]


def test_a_second_act_in_which_all_went_well_proves_everything() -> None:
    found = consent.prove_desk(good_facts(), a_good_desk())
    assert [proof.faults for proof in found] == [()] * 6


def test_the_figures_in_the_text_are_those_of_the_facts() -> None:
    live, fay, _, behind, approved, rejected = (
        proof.text for proof in consent.prove_desk(good_facts(), a_good_desk())
    )
    assert "in 3 deltas, the first 0.4 s after the question and 1.5 s before the end; their 11 cha" in live
    assert (
        "while fay's refund waited: run awaiting_approval, no lease and no worker, its call last in 2" in fay
    )
    assert behind.startswith("fay's message 2 was sent 3.0 s before the decision on message 1")
    assert (
        "approved by ana@shop.example from another process (pid 3) after 3.5 s, and the shop did it once"
        in (approved)
    )
    assert "rejected by ben@shop.example after 4.5 s: the shop did it never" in rejected


def test_nothing_is_claimed_of_a_stream_that_could_not_be_followed() -> None:
    assert consent.came_live(good_facts(), replace(a_good_desk(), streamed=None)) == []


def streamed(**changes: object) -> Tamper:
    def tamper(facts: Facts, desk: Desk) -> Play:
        assert desk.streamed is not None
        return facts, replace(desk, streamed=replace(desk.streamed, **changes))  # type: ignore[arg-type]

    return tamper


def waiting(**changes: object) -> Tamper:
    def tamper(facts: Facts, desk: Desk) -> Play:
        changed = [replace(desk.waiting[0], **changes), *desk.waiting[1:]]  # type: ignore[arg-type]
        return facts, replace(desk, waiting=changed)

    return tamper


def changed_desk(**changes: object) -> Tamper:
    return lambda facts, desk: (facts, replace(desk, **changes))  # type: ignore[arg-type]


def changed_run(id: str, **changes: object) -> Tamper:
    def tamper(facts: Facts, desk: Desk) -> Play:
        runs = [replace(one, **changes) if one.id == id else one for one in facts.runs]  # type: ignore[arg-type]
        return replace(facts, runs=runs), desk

    return tamper


def changed_approval(index: int, **changes: object) -> Tamper:
    def tamper(facts: Facts, desk: Desk) -> Play:
        approvals = list(facts.approvals)
        approvals[index] = replace(approvals[index], **changes)  # type: ignore[arg-type]
        return replace(facts, approvals=approvals), desk

    return tamper


def changed_call(index: int, **changes: object) -> Tamper:
    def tamper(facts: Facts, desk: Desk) -> Play:
        calls = list(facts.calls)
        calls[index] = replace(calls[index], **changes)  # type: ignore[arg-type]
        return replace(facts, calls=calls), desk

    return tamper


def changed_facts(change: Callable[[Facts], Facts]) -> Tamper:
    return lambda facts, desk: (change(facts), desk)


def more_effects(*effects: Effect) -> Tamper:
    return changed_facts(lambda facts: replace(facts, effects=[*facts.effects, *effects]))


def without_items(position: int, session: str) -> Tamper:
    return changed_facts(
        lambda facts: replace(
            facts,
            items=[one for one in facts.items if (one.position, one.session) != (position, session)],
        )
    )


def one_of(claim: Callable[[Facts, Desk], Proof]) -> Claim:
    return lambda facts, desk: [claim(facts, desk)]


behind = one_of(consent.waited_behind)


def decided(facts: Facts, desk: Desk) -> list[Proof]:
    return list(consent.decisions(facts, desk))


def calls_have_outputs(facts: Facts, desk: Desk) -> list[Proof]:
    return [proofs.calls_have_outputs(facts)]


def shop_knows(facts: Facts, desk: Desk) -> list[Proof]:
    return [takeover.look_ups_known(facts)]


TAMPERED: dict[str, tuple[Claim, Tamper]] = {
    "pieces that are not the answer": (consent.came_live, streamed(pieces=("I", " can"))),
    "an answer in one piece": (consent.came_live, streamed(pieces=("I can help.",))),
    "pieces that were lost": (consent.came_live, streamed(missed=1)),
    "fewer deltas than the worker sent": (consent.came_live, streamed(by_turn=((1, 2),))),
    "no piece at all": (consent.came_live, streamed(first_after=None, pieces=())),
    "pieces when all was over": (consent.came_live, streamed(first_after=1.9)),
    "a stream of no run": (consent.came_live, streamed(run_id="none")),
    "another answer was stored": (consent.came_live, changed_run("live", output="I cannot.")),
    "it was not parked": (consent.waited_as_rows, waiting(status=RunStatus.RUNNING)),
    "a worker held it": (consent.waited_as_rows, waiting(owner="host:2", is_leased=True)),
    "a lease of nobody": (consent.waited_as_rows, waiting(is_leased=True)),
    "the pending call is not in the history": (consent.waited_as_rows, waiting(items=[user_message("yes?")])),
    "the pending call is not last": (
        consent.waited_as_rows,
        waiting(items=[call("c1"), user_message("yes?")]),
    ),
    "the pending call has an output": (
        consent.waited_as_rows,
        waiting(items=[output("c1", "paid"), call("c1")]),
    ),
    "it was done while it waited": (consent.waited_as_rows, waiting(seen=["yes:c1"])),
    "it waited for nothing": (consent.waited_as_rows, waiting(calls=[])),
    "nothing waited": (consent.waited_as_rows, changed_desk(waiting=[])),
    "one of two did not wait": (
        consent.waited_as_rows,
        changed_desk(waiting=[waits("fay", "yes", "c1")]),
    ),
    "no approvals and nothing waited": (
        consent.waited_as_rows,
        lambda facts, desk: (replace(facts, approvals=[]), replace(desk, waiting=[])),
    ),
    "a message before the question to the person": (behind, changed_run("behind", created_at=at(2.4))),
    "a message after the decision": (behind, changed_run("behind", created_at=at(6.1))),
    "a message that overtook": (behind, changed_run("behind", started_at=at(7.9))),
    "a message that was at work meanwhile": (behind, waiting(behind=RunStatus.RUNNING)),
    "a message that never started": (behind, changed_run("behind", started_at=None)),
    "a message that is lost": (behind, changed_desk(behind="none")),
    "an approval that is still open": (
        decided,
        changed_approval(0, status=ApprovalStatus.PENDING, decided_at=None),
    ),
    "an approval by somebody else": (decided, changed_approval(0, decided_by=BEN)),
    "an approval by a worker": (
        decided,
        changed_desk(decided=[Decided(["apr-1"], ANA, B.pid), Decided(["apr-2"], BEN, None)]),
    ),
    "an approved refund that was not done": (
        decided,
        changed_facts(lambda facts: replace(facts, effects=[])),
    ),
    "an approved refund that was done twice": (
        decided,
        more_effects(Effect("began", "yes:c1", B.pid), Effect("done", "yes:c1", B.pid)),
    ),
    "an approved refund that began and did not end": (
        decided,
        changed_facts(lambda facts: replace(facts, effects=facts.effects[:1])),
    ),
    "an approved call in doubt": (decided, changed_call(0, status=CallStatus.IN_DOUBT)),
    "an approved run that failed": (decided, changed_run("yes", status=RunStatus.FAILED)),
    "an approved call without its output": (decided, without_items(3, "fay")),
    "a rejection that expired": (decided, changed_approval(1, status=ApprovalStatus.EXPIRED)),
    "a rejection by somebody else": (decided, changed_approval(1, decided_by=ANA)),
    "a rejected refund that began": (decided, more_effects(Effect("began", "no:c2", B.pid))),
    "a rejected call that was done": (decided, changed_call(1, status=CallStatus.DONE)),
    "a rejected run that was not answered": (decided, changed_run("no", status=RunStatus.CANCELLED)),
    "a rejection that the model was not told": (decided, without_items(3, "gus")),
    "another rejection than the model was told": (decided, changed_call(1, output="paid")),
    "a decision on nothing": (
        decided,
        changed_facts(lambda facts: replace(facts, approvals=facts.approvals[:1])),
    ),
    "an approval that nobody decided": (decided, changed_desk(decided=[Decided(["apr-1"], ANA, COMMAND)])),
    "a call of an approval is lost": (
        decided,
        changed_facts(lambda facts: replace(facts, calls=facts.calls[:1])),
    ),
    "a call that is denied and was not rejected": (
        calls_have_outputs,
        changed_approval(1, status=ApprovalStatus.APPROVED),
    ),
    "a rejected call in the shop's log": (shop_knows, more_effects(Effect("began", "no:c2", B.pid))),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_claim_fails_when_a_row_says_otherwise(case: str) -> None:
    claim, tamper = TAMPERED[case]
    assert all(proof.holds for proof in claim(good_facts(), a_good_desk()))
    found = claim(*tamper(good_facts(), a_good_desk()))
    assert not all(proof.holds for proof in found)
