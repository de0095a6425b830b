"""A run over time: what became of it as bars, worker by worker, turn by turn, call by call."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from turnkeeper_api.console.bars import WIDTH
from turnkeeper_api.console.timeline import bars_of
from turnkeeper_client import RunEvent, ToolCallSnapshot
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import CallStatus, Turn, Usage

BEGIN = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else BEGIN + timedelta(seconds=seconds)


def event(seconds: float, kind: str, **data: Json) -> RunEvent:
    return RunEvent("1", 1, kind, data, "run_x", at(seconds))


def call(
    planned: float,
    status: CallStatus,
    *,
    started: float | None = None,
    ended: float | None = None,
    call_id: str = "c",
    turn: int = 1,
) -> ToolCallSnapshot:
    begin = BEGIN + timedelta(seconds=planned)
    return ToolCallSnapshot(call_id, turn, "send_refund", {}, status, None, begin, at(started), at(ended))


def drawn(
    *events: RunEvent, calls: tuple[ToolCallSnapshot, ...] = (), now: float = 100.0
) -> list[tuple[str, str, float, bool, bool]]:
    bars = bars_of(events, BEGIN + timedelta(seconds=now), calls=calls)
    return [(bar.kind, bar.label, bar.seconds, bar.is_open, bar.lost) for bar in bars]


def of_tools(
    *events: RunEvent, calls: tuple[ToolCallSnapshot, ...], now: float = 100.0
) -> list[tuple[float, float, str, bool, bool]]:
    """Begin and end in seconds, note, whether it is open, whether it was lost."""
    bars = bars_of(events, BEGIN + timedelta(seconds=now), calls=calls)
    return [
        (
            (bar.begin - BEGIN).total_seconds(),
            (bar.end - BEGIN).total_seconds(),
            bar.note,
            bar.is_open,
            bar.lost,
        )
        for bar in bars
        if bar.kind == "tool"
    ]


START = (
    event(0, "run.queued"),
    event(1, "run.started", epoch=1),
    event(4, "turn.finished", turn=1, calls=["send_refund"]),
)
ASKED = event(5, "approval.requested", approval_id="a", call_id="c", tool="send_refund")
APPROVED = event(20, "approval.decided", approval_id="a", call_id="c", status="approved", by="ana")
TAKEN_OVER = event(30, "turn.restarted", turn=2, epoch=2)


def test_a_run_with_pauses_becomes_bars() -> None:
    second = event(4, "approval.requested", approval_id="b", call_id="d")
    events = (
        *START,
        ASKED,
        second,
        event(10, "approval.decided", approval_id="b", call_id="d", status="rejected", by="ben"),
        APPROVED,
        event(22, "turn.finished", turn=2),
        event(22, "run.completed"),
    )
    assert drawn(*events) == [
        ("queue", "In the queue", 1.0, False, False),
        ("work", "Worker, attempt 1", 4.0, False, False),
        ("turn", "Turn 1", 3.0, False, False),
        ("pause", "Waits for a person", 6.0, False, False),
        ("pause", "Waits for a person: send refund", 15.0, False, False),
        ("work", "Goes on", 2.0, False, False),
        ("turn", "Turn 2", 2.0, False, False),
    ]
    notes = [bar.note for bar in bars_of(events, BEGIN) if bar.kind == "pause"]
    assert notes == ["rejected by ben", "approved by ana"]


def test_a_take_over_is_shown_as_lost_work_and_what_goes_on_is_open() -> None:
    events = (
        event(0, "run.queued"),
        event(1, "run.started", epoch=1),
        event(31, "turn.restarted", turn=1, epoch=2),
        event(36, "turn.restarted", turn=1, epoch=2),
    )
    assert drawn(*events, now=41) == [
        ("queue", "In the queue", 1.0, False, False),
        ("work", "Worker, attempt 1", 30.0, False, True),
        ("turn", "Model, lost", 30.0, False, True),
        ("work", "Worker, attempt 2", 10.0, True, False),
        ("turn", "Model, lost", 5.0, False, True),
        ("turn", "Model, again", 5.0, True, False),
    ]
    for bar in bars_of(events, BEGIN + timedelta(seconds=41)):
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
    assert bars_of((), BEGIN) == []


def test_an_answer_that_is_asked_again_after_a_pause_is_no_lost_worker() -> None:
    again = event(24, "turn.restarted", turn=2, epoch=2)
    works = [bar for bar in drawn(*START, ASKED, APPROVED, again, now=25) if bar[0] == "work"]
    assert works == [
        ("work", "Worker, attempt 1", 4.0, False, False),
        ("work", "Goes on", 5.0, True, False),
    ]


def test_the_model_is_asked_when_all_tools_have_answered() -> None:
    fast = call(4, CallStatus.DONE, ended=6, call_id="fast")
    slow = call(4, CallStatus.DONE, ended=9, call_id="slow")
    events = (*START, event(12, "turn.finished", turn=2), event(12, "run.completed"))
    assert drawn(*events, calls=(fast, slow)) == [
        ("queue", "In the queue", 1.0, False, False),
        ("work", "Worker, attempt 1", 11.0, False, False),
        ("turn", "Turn 1", 3.0, False, False),
        ("tool", "send refund", 2.0, False, False),
        ("tool", "send refund", 5.0, False, False),
        ("turn", "Turn 2", 3.0, False, False),
    ]
    pending = replace(slow, status=CallStatus.PLANNED, ended_at=None)
    open_now = [bar for bar in drawn(*START, calls=(fast, pending), now=8) if bar[3]]
    assert open_now == [
        ("work", "Worker, attempt 1", 7.0, True, False),
        ("tool", "send refund", 4.0, True, False),
    ]


def test_a_turn_says_what_it_took_in_tokens() -> None:
    taken = Turn(1, None, [], Usage(requests=1, input_tokens=120, output_tokens=8))
    (turn,) = [bar for bar in bars_of(START, BEGIN, turns=(taken,)) if bar.label == "Turn 1"]
    assert turn.note == "120 tokens in, 8 out"
    assert turn.title == "Turn 1 (120 tokens in, 8 out): 3.0 s"
    # the last turn is not kept by itself: it took what is left of the run's
    used = Usage(requests=2, input_tokens=300, output_tokens=20)
    events = (*START, event(6, "turn.finished", turn=2), event(6, "run.completed"))
    notes = {bar.label: bar.note for bar in bars_of(events, BEGIN, turns=(taken,), used=used)}
    assert (notes["Turn 1"], notes["Turn 2"]) == ("120 tokens in, 8 out", "180 tokens in, 12 out")


def test_a_call_whose_worker_died_is_lost_at_the_take_over_and_runs_again() -> None:
    done = call(4, CallStatus.DONE, ended=33)
    assert of_tools(*START, TAKEN_OVER, calls=(done,)) == [
        (4, 30, "no answer", False, True),
        (30, 33, "done", False, False),
    ]
    pending = replace(done, status=CallStatus.PLANNED, ended_at=None)
    assert of_tools(*START, TAKEN_OVER, calls=(pending,), now=40) == [
        (4, 30, "no answer", False, True),
        (30, 40, "", True, False),
    ]
    # before anybody took the run over nobody knows better
    assert of_tools(*START, calls=(pending,), now=29) == [(4, 29, "", True, False)]


def test_a_call_in_doubt_is_lost_with_its_worker_and_never_drawn_as_work_of_another() -> None:
    doubt = call(4, CallStatus.IN_DOUBT, started=5, ended=31)
    asked = event(31, "approval.requested", approval_id="a", call_id="c", tool="send_refund")
    assert of_tools(*START, TAKEN_OVER, asked, calls=(doubt,)) == [(5, 30, "in doubt", False, True)]
    decided = event(50, "approval.decided", approval_id="a", call_id="c", status="approved", by="ana")
    events = (*START, TAKEN_OVER, asked, decided)
    happened = replace(doubt, status=CallStatus.DONE)
    assert of_tools(*events, calls=(happened,)) == [(5, 30, "no answer", False, True)]
    again = replace(doubt, status=CallStatus.PLANNED, ended_at=None)
    assert of_tools(*events, calls=(again,), now=60) == [(50, 60, "", True, False)]


def test_a_call_that_waits_is_a_pause_and_begins_once_it_is_approved() -> None:
    waiting = call(4, CallStatus.AWAITING)
    assert of_tools(*START, ASKED, calls=(waiting,)) == []
    done = call(4, CallStatus.DONE, ended=23)
    assert of_tools(*START, ASKED, APPROVED, calls=(done,)) == [(20, 23, "done", False, False)]
    noted = replace(done, started_at=at(22))
    assert of_tools(*START, ASKED, APPROVED, calls=(noted,)) == [(22, 23, "done", False, False)]


def test_a_call_that_was_rejected_or_closed_before_it_ran_has_no_bar() -> None:
    for status in (CallStatus.DENIED, CallStatus.CLOSED):
        assert of_tools(*START, ASKED, APPROVED, calls=(call(4, status, ended=20),)) == []


def test_a_call_that_was_cut_off_ends_with_its_run() -> None:
    cut = call(4, CallStatus.STARTED, started=5)
    cancelled = event(9, "run.cancelled")
    assert of_tools(*START, cancelled, calls=(cut,)) == [(5, 9, "no answer", False, False)]


def test_a_call_of_an_earlier_release_whose_end_nobody_noted_has_no_bar_and_holds_no_turn_up() -> None:
    old = call(4, CallStatus.DONE)
    assert of_tools(*START, calls=(old,)) == []
    assert ("turn", "Model", 3.0, True, False) in drawn(*START, calls=(old,), now=7)


def test_a_call_of_no_time_is_drawn_once() -> None:
    quick = call(4, CallStatus.DONE, ended=4)
    assert of_tools(*START, calls=(quick,)) == [(4, 4, "done", False, False)]


def test_a_call_begins_when_its_turn_has_ended_though_it_was_written_down_a_little_before() -> None:
    assert of_tools(*START, calls=(call(3.9, CallStatus.DONE, ended=6),)) == [(4, 6, "done", False, False)]
