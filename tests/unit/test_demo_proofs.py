"""What the demo claims must fail when the facts say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from turnkeeper.demo import proofs, takeover
from turnkeeper.demo.facts import (
    CallFact,
    Death,
    Effect,
    EventFact,
    Facts,
    Held,
    ItemFact,
    RunFact,
    SessionFact,
    Worker,
)
from turnkeeper.demo.proof import Proof
from turnkeeper_storage.items import Item, Json, user_message
from turnkeeper_storage.model import CallStatus, EventType, RunStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Worker("A", 1), Worker("B", 2)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run(
    seq: int, question: str, answer: str, turn: int, sent: float, started: float, ended: float
) -> RunFact:
    return RunFact(
        id=f"run-{seq}",
        session="ana",
        seq=seq,
        status=RunStatus.COMPLETED,
        turn=turn,
        input=[user_message(question)],
        output=answer,
        created_at=at(sent),
        started_at=at(started),
        finished_at=at(ended),
    )


def said(answer: str) -> Item:
    return {"type": "message", "role": "assistant", "content": answer}


def call(call_id: str) -> list[Item]:
    return [
        {"type": "function_call", "call_id": call_id, "name": "order_status", "arguments": "{}"},
        {"type": "function_call_output", "call_id": call_id, "output": f"{call_id} is found"},
    ]


def event(run_id: str, n: int, kind: EventType, when: float, **data: Json) -> EventFact:
    return EventFact(run_id, n, kind, data, at(when))


def history() -> list[ItemFact]:
    first = [user_message("both?"), call("c1")[0], call("c2")[0], call("c1")[1], call("c2")[1], said("both.")]
    second = [user_message("hours?"), said("nine.")]
    owned = [("run-1", item) for item in first] + [("run-2", item) for item in second]
    return [ItemFact("ana", place, run_id, 2, item) for place, (run_id, item) in enumerate(owned, 1)]


def a_good_play() -> Facts:
    """Ana's first run was left with c1 done and c2 cut off; B took it over and did her second one."""
    return Facts(
        accepted=["run-1", "run-2"],
        sessions=[SessionFact("ana", epoch=2, owner=None)],
        runs=[run(1, "both?", "both.", 2, 0, 0.1, 8), run(2, "hours?", "nine.", 1, 0.1, 8, 9)],
        items=history(),
        calls=[CallFact("run-1", name, 1, CallStatus.DONE, f"{name} is found") for name in ("c1", "c2")],
        events=[
            event("run-1", 1, EventType.QUEUED, 0),
            event("run-1", 2, EventType.STARTED, 0.1, turn=1, epoch=1),
            event("run-1", 3, EventType.TURN_FINISHED, 0.5, turn=1),
            event("run-1", 4, EventType.TURN_RESTARTED, 6, turn=2, epoch=2),
            event("run-1", 5, EventType.TURN_FINISHED, 8, turn=2),
            event("run-1", 6, EventType.COMPLETED, 8),
            event("run-2", 1, EventType.QUEUED, 0.1),
            event("run-2", 2, EventType.STARTED, 8, turn=1, epoch=2),
            event("run-2", 3, EventType.TURN_FINISHED, 9, turn=1),
            event("run-2", 4, EventType.COMPLETED, 9),
        ],
        effects=[
            Effect("began", "run-1:c1", A.pid),
            Effect("began", "run-1:c2", A.pid),
            Effect("done", "run-1:c1", A.pid),
            Effect("began", "run-1:c2", B.pid),
            Effect("done", "run-1:c2", B.pid),
        ],
        death=Death(A, at(1), [Held("ana", "run-1", 1, A.pid, 1, 1, ("c1",), ("c2",))]),
        survivor=B,
        asked=[("run-1", 1), ("run-1", 2), ("run-2", 1)],
    )


def test_a_play_in_which_all_went_well_proves_everything() -> None:
    found = proofs.prove(a_good_play())
    assert [proof.faults for proof in found] == [()] * 11


def test_the_figures_in_the_text_are_those_of_the_facts() -> None:
    texts = [proof.text for proof in proofs.prove(a_good_play())]
    assert texts[0] == "2 messages accepted, 2 answered, 0 left over"
    assert "waited 7.9 s" in texts[4]
    assert "taken over 5.0 s after the kill, epoch 1 to 2; 1 turn and 1 look-up stood" in texts[6]
    assert "2 look-ups and refunds for 2 calls that were let through; 1 of them" in texts[7]


def test_with_a_real_model_nothing_is_claimed_of_its_calls() -> None:
    assert takeover.asked_once(replace(a_good_play(), asked=None)) == []


Tamper = Callable[[Facts], Facts]
Claim = Callable[[Facts], Proof]


def first_of(claims: Callable[[Facts], list[Proof]]) -> Claim:
    return lambda facts: claims(facts)[0]


def changed_run(index: int, **changes: object) -> Tamper:
    def tamper(facts: Facts) -> Facts:
        runs = list(facts.runs)
        runs[index] = replace(runs[index], **changes)  # type: ignore[arg-type]
        return replace(facts, runs=runs)

    return tamper


def changed_items(change: Callable[[list[ItemFact]], list[ItemFact]]) -> Tamper:
    return lambda facts: replace(facts, items=change(list(facts.items)))


def changed_events(change: Callable[[Sequence[EventFact]], Sequence[EventFact]]) -> Tamper:
    return lambda facts: replace(facts, events=change(facts.events))


def more_effects(*effects: Effect) -> Tamper:
    return lambda facts: replace(facts, effects=[*facts.effects, *effects])


def fewer_effects(*gone: Effect) -> Tamper:
    return lambda facts: replace(facts, effects=[one for one in facts.effects if one not in gone])


def again(item: ItemFact) -> ItemFact:
    return replace(item, position=99)


TAMPERED: dict[str, tuple[Claim, Tamper]] = {
    "a run is still queued": (proofs.all_answered, changed_run(1, status=RunStatus.QUEUED)),
    "a run failed": (proofs.all_answered, changed_run(0, status=RunStatus.FAILED)),
    "an accepted run is lost": (proofs.all_answered, lambda facts: replace(facts, runs=facts.runs[:1])),
    "a run that nobody sent": (proofs.all_answered, lambda facts: replace(facts, accepted=["run-1"])),
    "nothing was accepted": (proofs.all_answered, lambda facts: replace(facts, accepted=[], runs=[])),
    "a lease is left": (
        proofs.all_answered,
        lambda facts: replace(facts, sessions=[SessionFact("ana", 2, "host:2")]),
    ),
    "runs in the wrong order": (
        proofs.histories_in_order,
        changed_items(lambda items: [*items[6:], *items[:6]]),
    ),
    "a run's items in two places": (
        proofs.histories_in_order,
        changed_items(lambda items: [*items[:5], *items[6:], items[5]]),
    ),
    "a run is missing in the history": (proofs.histories_in_order, changed_items(lambda items: items[:6])),
    "a question is missing": (proofs.histories_in_order, changed_items(lambda items: items[1:])),
    "an answer is missing": (proofs.histories_in_order, changed_items(lambda items: items[:-1])),
    "another answer than the run's": (proofs.histories_in_order, changed_run(0, output="none.")),
    "empty histories": (
        proofs.histories_in_order,
        lambda facts: replace(facts, items=[], runs=[], sessions=[]),
    ),
    "an item stands twice": (proofs.nothing_twice, changed_items(lambda items: [*items, again(items[1])])),
    "a position is taken twice": (
        proofs.nothing_twice,
        changed_items(lambda items: [*items, replace(items[1], item=said("more"))]),
    ),
    "a call without its output": (
        proofs.calls_have_outputs,
        changed_items(lambda items: [*items[:3], *items[4:]]),
    ),
    "a call with two outputs": (
        proofs.calls_have_outputs,
        changed_items(lambda items: [*items, again(items[3])]),
    ),
    "a call stands twice": (
        proofs.calls_have_outputs,
        changed_items(lambda items: [*items, again(items[1])]),
    ),
    "an output of no call": (proofs.calls_have_outputs, lambda facts: replace(facts, calls=facts.calls[:1])),
    "an output before its call": (
        proofs.calls_have_outputs,
        changed_items(lambda items: [items[3], *items[:3], *items[4:]]),
    ),
    "a call that is not done": (
        proofs.calls_have_outputs,
        lambda facts: replace(
            facts, calls=[facts.calls[0], replace(facts.calls[1], status=CallStatus.STARTED)]
        ),
    ),
    "a message that started too early": (
        first_of(proofs.waited_their_turn),
        changed_run(1, started_at=at(7.9)),
    ),
    "a message that had nothing to wait for": (
        first_of(proofs.waited_their_turn),
        changed_run(1, created_at=at(8.1), started_at=at(8.2)),
    ),
    "a message that never started": (first_of(proofs.waited_their_turn), changed_run(1, started_at=None)),
    "a kill that hit nothing": (
        takeover.killed_in_the_middle,
        lambda facts: replace(facts, death=replace(facts.death, left=[])),
    ),
    "nobody took over": (
        first_of(takeover.taken_over),
        changed_events(lambda events: [one for one in events if one.type is not EventType.TURN_RESTARTED]),
    ),
    "taken over before the kill": (
        first_of(takeover.taken_over),
        lambda facts: replace(facts, death=replace(facts.death, at=at(7))),
    ),
    "taken over without a new epoch": (
        first_of(takeover.taken_over),
        changed_events(lambda events: [replace(one, data={**one.data, "epoch": 1}) for one in events]),
    ),
    "taken over and failed": (first_of(takeover.taken_over), changed_run(0, status=RunStatus.FAILED)),
    "what was done was done again": (
        first_of(takeover.taken_over),
        more_effects(Effect("began", "run-1:c1", B.pid)),
    ),
    "what was cut off was not done by the other": (
        first_of(takeover.taken_over),
        fewer_effects(Effect("done", "run-1:c2", B.pid)),
    ),
    "a look-up of no call": (takeover.look_ups_known, more_effects(Effect("began", "run-9:c1", B.pid))),
    "a call without a look-up": (
        takeover.look_ups_known,
        fewer_effects(Effect("done", "run-1:c1", A.pid)),
    ),
    "a look-up that began once too often": (
        takeover.look_ups_known,
        more_effects(Effect("began", "run-1:c1", B.pid)),
    ),
    "a cut-off look-up that began twice again": (
        takeover.look_ups_known,
        more_effects(Effect("began", "run-1:c2", B.pid)),
    ),
    "a turn that was asked for twice": (
        first_of(takeover.asked_once),
        lambda facts: replace(facts, asked=[*(facts.asked or ()), ("run-1", 1)]),
    ),
    "a turn that was never asked for": (
        first_of(takeover.asked_once),
        lambda facts: replace(facts, asked=[("run-1", 1), ("run-2", 1)]),
    ),
    "a call of the model for no turn": (
        first_of(takeover.asked_once),
        lambda facts: replace(facts, asked=[*(facts.asked or ()), ("run-1", 3)]),
    ),
    "a gap in the events": (
        proofs.events_dense,
        changed_events(lambda events: [one for one in events if (one.run_id, one.n) != ("run-1", 4)]),
    ),
    "a run that ended twice": (
        proofs.events_dense,
        changed_events(lambda events: [*events, event("run-2", 5, EventType.FAILED, 9)]),
    ),
    "a turn that was committed twice": (
        proofs.events_dense,
        changed_events(lambda events: [*events, event("run-2", 5, EventType.TURN_FINISHED, 9, turn=1)]),
    ),
    "no events": (proofs.events_dense, lambda facts: replace(facts, runs=[], events=[])),
    "an epoch that falls": (
        proofs.fenced,
        changed_items(lambda items: [*items[:-1], replace(items[-1], epoch=1)]),
    ),
    "an epoch above the session's": (
        proofs.fenced,
        changed_items(lambda items: [*items[:-1], replace(items[-1], epoch=3)]),
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_claim_fails_when_a_row_says_otherwise(case: str) -> None:
    claim, tamper = TAMPERED[case]
    assert claim(a_good_play()).holds
    assert not claim(tamper(a_good_play())).holds


def test_a_turn_that_the_kill_cut_off_may_be_asked_for_again() -> None:
    play = a_good_play()
    in_a_model_call = Held("ana", "run-1", 1, A.pid, 1, 1, ("c1", "c2"), ())
    facts = replace(
        play,
        death=replace(play.death, left=[in_a_model_call]),
        asked=[("run-1", 1), ("run-1", 2), ("run-1", 2), ("run-2", 1)],
    )
    assert takeover.asked_once(facts)[0].holds
