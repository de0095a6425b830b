"""The claims about the kill: who was killed in what, who went on with it, what was done again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from turnkeeper.demo.facts import Effect, Facts, Held
from turnkeeper.demo.proof import Proof, counted, effect_key, proof_of, rejected_calls, seconds_between
from turnkeeper_storage.model import EventType, RunStatus


def killed_in_the_middle(facts: Facts) -> Proof:
    """The killed worker left at least one run in the middle of its work."""
    death = facts.death
    left = ", ".join(f"{held.session}'s message {held.seq}" for held in death.left) or "nothing"
    text = f"{death.worker} was killed (SIGKILL) at {death.at:%H:%M:%S} UTC in the middle of: {left}"
    return proof_of(text, [], none_if=not death.left)


def taken_over(facts: Facts) -> list[Proof]:
    """Per run left in the middle: the other worker went on with it, under a higher epoch."""
    return [_taken_over(facts, held) for held in facts.death.left]


def look_ups_known(facts: Facts) -> Proof:
    """The shop's log and the histories know the same look-ups; only what the kill cut off began twice."""
    began = Counter(effect.key for effect in facts.effects if effect.step == "began")
    done = Counter(effect.key for effect in facts.effects if effect.step == "done")
    rejected = rejected_calls(facts)
    planned = {
        effect_key(call.run_id, call.call_id)
        for call in facts.calls
        if (call.run_id, call.call_id) not in rejected
    }
    cut_off = {effect_key(held.run_id, call_id) for held in facts.death.left for call_id in held.open}
    faults = [f"look-up {key} is in no run" for key in began if key not in planned]
    faults += [f"look-up {key} was never done" for key in sorted(planned) if not done[key]]
    faults += [
        f"look-up {key} began {n} times" for key, n in began.items() if n > (2 if key in cut_off else 1)
    ]
    again = sum(began.values()) - len(began)
    text = (
        f"the shop saw {len(began)} look-ups and refunds for {len(planned)} calls that were let through; "
        f"{again} of them, cut off by the kill, began again under the same key"
    )
    return proof_of(text, faults)


def asked_once(facts: Facts) -> list[Proof]:
    """The practice model was asked once for each turn, and twice at most for one that the kill cut off."""
    if facts.asked is None:
        return []
    asked = Counter(facts.asked)
    turns = {(run.id, turn) for run in facts.runs for turn in range(1, run.turn + 1)}
    cut_off = {(held.run_id, held.turn + 1) for held in facts.death.left if not held.open}
    faults = [
        f"turn {turn} of {run_id} was asked for, and is not there" for run_id, turn in asked.keys() - turns
    ]
    faults += [f"turn {turn} of {run_id} was never asked for" for run_id, turn in turns - asked.keys()]
    faults += [
        f"turn {turn} of {run_id} was asked for {n} times"
        for (run_id, turn), n in asked.items()
        if n > (2 if (run_id, turn) in cut_off else 1)
    ]
    text = f"the model was asked {counted(len(facts.asked), 'time')} for {counted(len(turns), 'turn')}"
    return [proof_of(f"{text}: what was committed was not asked for again", faults)]


def _taken_over(facts: Facts, held: Held) -> Proof:
    name = f"{held.session}'s message {held.seq}"
    again = [
        event
        for event in facts.events
        if event.run_id == held.run_id
        and event.type is EventType.TURN_RESTARTED
        and event.at >= facts.death.at
    ]
    run = next((run for run in facts.runs if run.id == held.run_id), None)
    if run is None or not again:
        return Proof(f"{name} was taken over", ("nobody took it over",))
    epoch = int(again[0].data.get("epoch", 0))
    after = seconds_between(facts.death.at, again[0].at)
    text = (
        f"{name} was taken over {after:.1f} s after the kill, epoch {held.epoch} to {epoch}; "
        f"{counted(held.turn, 'turn')} and {counted(len(held.done), 'look-up')} stood, "
        f"{counted(len(held.open), 'look-up')} cut off by the kill {_was(held.open)} done by {facts.survivor}"
    )
    faults = [f"it is {run.status}"] if run.status is not RunStatus.COMPLETED else []
    if epoch <= held.epoch:
        faults.append("the epoch did not grow")
    faults += _who_did(facts, held)
    return proof_of(text, faults)


def _who_did(facts: Facts, held: Held) -> Iterable[str]:
    pids = _pids(facts.effects, "began"), _pids(facts.effects, "done")
    for call_id in held.done:
        if pids[0](effect_key(held.run_id, call_id)) != [facts.death.worker.pid]:
            yield f"look-up {call_id} was done before the kill and began again"
    for call_id in held.open:
        if facts.survivor.pid not in pids[1](effect_key(held.run_id, call_id)):
            yield f"look-up {call_id} was not done by {facts.survivor}"


def _pids(effects: Sequence[Effect], step: str) -> Callable[[str], list[int]]:
    return lambda key: [effect.pid for effect in effects if effect.step == step and effect.key == key]


def _was(several: Sequence[str]) -> str:
    return "was" if len(several) == 1 else "were"
