"""What comes next in a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import CallStatus, RunError, ToolCall, Turn, Usage
from turnkeeper_storage.valid_input import make_valid
from turnkeeper_worker.output_type import output_type
from turnkeeper_worker.steps import (
    CANCELLED_TEXT,
    AskModel,
    Cancel,
    Fail,
    Finish,
    Park,
    Progress,
    RunTools,
    close_calls,
    closed,
    final_output,
    history_of,
    next_step,
    plan_calls,
    tool_for,
    turn_items,
    unknown_tool_output,
    with_unique_call_ids,
)
from turnkeeper_worker.tools import tool


class Verdict(BaseModel):
    ok: bool


@tool(idempotent=False)
def pay(amount: int) -> str:
    return "paid"


TOOLS = {"pay": pay}


def wants(*ids: str, name: str = "pay") -> list[Item]:
    return [{"type": "function_call", "call_id": id, "name": name, "arguments": "{}"} for id in ids]


def says(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def turn(number: int, *items: Item) -> Turn:
    return Turn(number, None, list(items), Usage())


def planned(number: int, *ids: str) -> list[ToolCall]:
    return plan_calls(wants(*ids), number, TOOLS)


def done(call: ToolCall, output: str = "ok") -> ToolCall:
    return replace(call, status=CallStatus.DONE, output=output)


def output(id: str, text: str = "ok") -> Item:
    return {"type": "function_call_output", "call_id": id, "output": text}


def test_a_fresh_run_asks_the_model() -> None:
    assert next_step(Progress([], [], 3)) == AskModel(1, [])


def test_an_answer_without_calls_is_final() -> None:
    answer = says("done")
    assert next_step(Progress([turn(1, answer)], [], 1)) == Finish([answer], "done")


def test_open_calls_run_in_their_order() -> None:
    first, second, third = planned(1, "a", "b", "c")
    progress = Progress([turn(1, *wants("a", "b", "c"))], [third, done(first), second], 3)
    assert next_step(progress) == RunTools((second, third))


def test_with_all_outputs_the_model_is_asked_with_them() -> None:
    first, second = planned(1, "a", "b")
    progress = Progress([turn(1, *wants("a", "b"))], [done(second, "2"), done(first, "1")], 3)
    assert next_step(progress) == AskModel(2, [*wants("a", "b"), output("a", "1"), output("b", "2")])


def test_denied_and_closed_calls_have_outputs_too() -> None:
    first, second = planned(1, "a", "b")
    calls = [
        replace(first, status=CallStatus.DENIED, output="no"),
        replace(second, status=CallStatus.CLOSED, output="closed"),
    ]
    step = next_step(Progress([turn(1, *wants("a", "b"))], calls, 3))
    assert isinstance(step, AskModel)
    assert step.input_suffix[2:] == [output("a", "no"), output("b", "closed")]


def test_what_can_run_does_so_before_the_run_parks() -> None:
    first, second = planned(1, "a", "b")
    waits = replace(first, status=CallStatus.AWAITING)
    turns = [turn(1, *wants("a", "b"))]
    assert next_step(Progress(turns, [waits, second], 3)) == RunTools((second,))
    assert next_step(Progress(turns, [waits, done(second)], 3)) == Park((waits,))


def test_a_run_in_doubt_parks() -> None:
    doubtful = replace(planned(1, "a")[0], status=CallStatus.IN_DOUBT)
    assert next_step(Progress([turn(1, *wants("a"))], [doubtful], 3)) == Park((doubtful,))


def test_at_max_turns_the_last_tools_run_and_then_the_run_fails() -> None:
    turns, (call,) = [turn(1, *wants("a"))], planned(1, "a")
    assert next_step(Progress(turns, [call], 1)) == RunTools((call,))
    step = next_step(Progress(turns, [done(call)], 1))
    assert isinstance(step, Fail)
    assert step.code == "max_turns_exceeded"
    assert step.items == [*wants("a"), output("a")]


def test_a_cancelled_run_leaves_a_valid_history() -> None:
    first, second = planned(1, "a", "b")
    turns = [turn(1, *wants("a", "b"))]
    step = next_step(Progress(turns, [done(first), second], 3, cancel_requested=True))
    assert step == Cancel([*wants("a", "b"), output("a"), output("b", CANCELLED_TEXT)])
    assert isinstance(step, Cancel)
    assert make_valid(step.items) == step.items


def test_a_cancel_goes_before_the_first_turn_too() -> None:
    assert next_step(Progress([], [], 3, cancel_requested=True)) == Cancel([])


def test_an_answer_that_does_not_fit_its_type_fails_the_run() -> None:
    wanted = output_type(Verdict, agent="a")
    step = next_step(Progress([turn(1, says("maybe"))], [], 3, output=wanted))
    assert isinstance(step, Fail)
    assert step.code == "output_invalid"
    assert step.items == [says("maybe")]
    assert next_step(Progress([turn(1, says('{"ok": true}'))], [], 3, output=wanted)) == Finish(
        [says('{"ok": true}')], {"ok": True}
    )


def test_a_refusal_in_place_of_a_typed_answer_says_so() -> None:
    refusal = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    with pytest.raises(RunFailure, match="model_refused"):
        final_output([refusal], output_type(Verdict, agent="a"))
    assert final_output([refusal], None) == "no"


def test_the_last_message_is_the_answer() -> None:
    assert final_output([says("thinking aloud"), says("the answer")], None) == "the answer"
    assert final_output([], None) == ""


def test_calls_are_planned_in_their_order_with_the_tools_promise() -> None:
    items = [says("x"), *wants("a"), *wants("b", name="nope")]
    assert plan_calls(items, 2, TOOLS) == [
        ToolCall("a", 2, "pay", "{}", 0, idempotent=False),
        ToolCall("b", 2, "nope", "{}", 1, idempotent=True),
    ]


def test_a_custom_call_gets_an_output_of_its_kind() -> None:
    asked = turn(1, {"type": "custom_tool_call", "call_id": "a", "name": "nope", "input": "text"})
    (call,) = plan_calls(asked.items, 1, TOOLS)
    assert call.arguments == "text"
    items = turn_items(asked, [done(call)])
    assert items[1]["type"] == "custom_tool_call_output"
    assert make_valid(items) == items


def test_outputs_stand_in_the_order_of_their_calls_and_with_their_turn() -> None:
    one, two = planned(1, "a", "b"), planned(2, "c")
    turns = [turn(1, *wants("a", "b")), turn(2, *wants("c"))]
    calls = [*map(done, two), done(one[1]), done(one[0])]
    expected = [*wants("a", "b"), output("a"), output("b"), *wants("c"), output("c")]
    assert history_of(turns, calls) == expected


def test_an_open_call_stands_without_an_output_until_it_is_closed() -> None:
    turns, calls = [turn(1, *wants("a"))], planned(1, "a")
    assert history_of(turns, calls) == wants("a")
    assert closed(turns, calls, "gone") == [*wants("a"), output("a", "gone")]


def test_closing_touches_open_calls_only() -> None:
    first, second = planned(1, "a", "b")
    settled, ended = close_calls([done(first), second])
    assert settled == done(first)
    assert (ended.status, ended.output) == (CallStatus.CLOSED, CANCELLED_TEXT)


def test_call_ids_become_unique_within_a_run() -> None:
    items = [says("x"), *wants("a", "a", "b", "c")]
    unique = with_unique_call_ids(items, 2, {"b"})
    assert [item.get("call_id") for item in unique] == [None, "a", "a_2_2", "b_2_3", "c"]
    assert with_unique_call_ids(unique, 2, set()) == unique


@pytest.mark.parametrize("given", [{}, {"call_id": None}, {"call_id": ""}, {"call_id": 3}])
def test_a_call_without_an_id_gets_one(given: Item) -> None:
    item = {"type": "function_call", "name": "pay", "arguments": "{}", **given}
    assert with_unique_call_ids([item], 1, set())[0]["call_id"] == "call_1_0"


def test_a_made_up_id_never_meets_a_given_one() -> None:
    unique = with_unique_call_ids(wants("a_1_1", "a", "a", "a_1_2"), 1, {"a_1_1", "a"})
    ids = [item["call_id"] for item in unique]
    assert len({*ids, "a_1_1", "a"}) == 4 + 2


def test_a_missing_tool_fails_a_stored_run_and_is_told_to_a_fresh_model() -> None:
    (call,) = plan_calls(wants("a", name="nope"), 1, TOOLS)
    assert tool_for(call, TOOLS, agent="support", stored=False) is None
    assert unknown_tool_output("nope", TOOLS) == "Tool error: there is no tool 'nope'; there are: pay"
    with pytest.raises(RunFailure) as caught:
        tool_for(call, TOOLS, agent="support", stored=True)
    assert caught.value.code == "tool_missing"
    assert caught.value.message == "run names tool 'nope', agent 'support' has: pay"


def test_a_tool_that_is_there_is_found() -> None:
    (call,) = planned(1, "a")
    assert tool_for(call, TOOLS, agent="support", stored=True) is pay


@pytest.mark.parametrize(("limit", "asks"), [(None, True), (101, True), (100, False), (1, False)])
def test_a_run_that_used_its_tokens_asks_no_more(limit: int | None, asks: bool) -> None:
    turns = [replace(turn(1, *wants("a")), usage=Usage(1, input_tokens=60, output_tokens=40))]
    step = next_step(Progress(turns, [done(planned(1, "a")[0])], 3, token_limit=limit))
    if asks:
        assert isinstance(step, AskModel)
    else:
        assert isinstance(step, Fail)
        assert step.code == "token_limit_exceeded"
        assert "used 100 tokens" in step.message
        assert step.items == [*wants("a"), output("a")]


def test_the_first_model_call_and_open_calls_take_no_look_at_the_tokens() -> None:
    assert next_step(Progress([], [], 3, token_limit=1)) == AskModel(1, [])
    turns = [replace(turn(1, *wants("a")), usage=Usage(1, input_tokens=60))]
    assert next_step(Progress(turns, planned(1, "a"), 3, token_limit=1)) == RunTools(tuple(planned(1, "a")))


def test_an_answer_over_the_token_limit_is_an_answer() -> None:
    turns = [replace(turn(1, says("done")), usage=Usage(1, input_tokens=60))]
    assert next_step(Progress(turns, [], 3, token_limit=1)) == Finish([says("done")], "done")


LATE = RunError("deadline_exceeded", "too late")


def test_past_its_deadline_a_run_asks_nobody() -> None:
    assert next_step(Progress([], [], 3, overdue=LATE)) == Fail("deadline_exceeded", "too late", [])


@pytest.mark.parametrize("status", [CallStatus.PLANNED, CallStatus.AWAITING, CallStatus.DONE])
def test_past_its_deadline_no_call_runs_and_nobody_is_asked_about_one(status: CallStatus) -> None:
    call = replace(planned(1, "a")[0], status=status)
    step = next_step(Progress([turn(1, *wants("a"))], [call], 3, overdue=LATE))
    assert isinstance(step, Fail)
    assert step.code == "deadline_exceeded"
    assert [item["type"] for item in step.items] == ["function_call", "function_call_output"]


def test_an_answer_that_came_in_time_stands() -> None:
    answer = says("done")
    assert next_step(Progress([turn(1, answer)], [], 1, overdue=LATE)) == Finish([answer], "done")


def test_a_cancel_goes_before_a_deadline() -> None:
    assert next_step(Progress([], [], 3, cancel_requested=True, overdue=LATE)) == Cancel([])
