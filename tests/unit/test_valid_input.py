"""What is left out of a model's input."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from turnkeeper_storage.items import Item
from turnkeeper_storage.valid_input import make_valid, window


def call(id: str, kind: str = "function_call") -> Item:
    return {"type": kind, "call_id": id, "name": "t", "arguments": "{}"}


def output(id: str, kind: str = "function_call_output") -> Item:
    return {"type": kind, "call_id": id, "output": "ok"}


def thought(id: str) -> Item:
    return {"type": "reasoning", "id": id, "summary": []}


USER: Item = {"role": "user", "content": "hi"}
ANSWER: Item = {"type": "message", "role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    "items",
    [
        [],
        [USER, call("a"), output("a"), ANSWER],
        [USER, thought("r"), call("a"), call("b"), output("b"), output("a"), thought("s"), ANSWER],
        [USER, thought("r"), thought("s"), ANSWER],
        [call("a"), output("a"), call("a"), output("a")],
        [{"type": "compaction", "encrypted_content": "x"}, {"type": "brand_new"}],
        [call("a", "shell_call"), output("a", "shell_call_output")],
        [USER, {"type": "compaction_trigger"}],
    ],
)
def test_a_valid_input_stays_as_it_is(items: list[Item]) -> None:
    assert make_valid(items) == items


@pytest.mark.parametrize(
    ("items", "valid"),
    [
        ([USER, call("a")], [USER]),
        ([USER, output("a")], [USER]),
        ([output("a"), call("a"), USER], [USER]),
        ([call("a"), output("a", "custom_tool_call_output")], []),
        ([call("a"), output("a"), output("a")], [call("a"), output("a")]),
        ([call("a"), call("a"), output("a")], [call("a"), output("a")]),
        ([{"type": "function_call", "name": "t"}, {"type": "function_call_output", "output": ""}], []),
        ([{"type": "compaction_trigger"}, USER], [USER]),
    ],
)
def test_calls_and_outputs_without_a_partner_are_left_out(items: list[Item], valid: list[Item]) -> None:
    assert make_valid(items) == valid


@pytest.mark.parametrize(
    ("items", "valid"),
    [
        ([USER, thought("r"), call("a"), USER], [USER, USER]),
        ([USER, thought("r")], [USER]),
        ([thought("r"), USER], [USER]),
        ([thought("r"), output("a"), ANSWER], [ANSWER]),
        ([thought("r"), thought("s"), call("a"), USER], [USER]),
        ([thought("r"), call("a"), thought("s"), ANSWER], [thought("s"), ANSWER]),
        ([thought("r"), call("a"), call("b"), output("b")], [thought("r"), call("b"), output("b")]),
    ],
)
def test_reasoning_goes_with_what_it_produced(items: list[Item], valid: list[Item]) -> None:
    assert make_valid(items) == valid


def test_fields_that_a_server_refuses_are_stripped_and_the_given_items_stay() -> None:
    items: list[Item] = [
        {**thought("r"), "status": "completed", "encrypted_content": "x"},
        {**call("a"), "parsed_arguments": {}, "created_by": "x", "id": None, "status": "completed"},
        output("a"),
        {
            "type": "message",
            "role": "assistant",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "x", "parsed": {"a": 1}}],
        },
    ]
    before = copy.deepcopy(items)
    assert make_valid(items) == [
        {**thought("r"), "encrypted_content": "x"},
        {**call("a"), "status": "completed"},
        output("a"),
        {
            "type": "message",
            "role": "assistant",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "x"}],
        },
    ]
    assert items == before


def test_a_window_is_the_newest_items_in_order() -> None:
    items = [USER, ANSWER, {"role": "user", "content": "more"}]
    assert window(items, 2) == items[1:]
    assert window(items, 0) == []
    assert window(items, -1) == []
    assert window(items, None) == window(items, 3) == window(items, 9) == items


def test_a_window_leaves_out_the_output_of_a_call_before_it() -> None:
    items = [USER, call("a"), call("b"), output("a"), output("b"), ANSWER]
    assert window(items, 4) == [call("b"), output("b"), ANSWER]
    assert window(items, 2) == [ANSWER]


def test_a_window_leaves_out_what_reasoning_before_it_produced() -> None:
    items = [USER, thought("r"), call("a"), output("a"), USER, thought("s"), ANSWER]
    assert window(items, 5) == [USER, thought("s"), ANSWER]
    assert window(items, 6) == items[1:]
    assert window(items, 1) == []


class Looked(list[Item]):
    """Items that count how often one of them was looked at by its place."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)


@pytest.mark.parametrize(
    "opening", [{"type": "reasoning", "id": "rs_1"}, {"role": "user", "content": "Go on"}]
)
def test_a_cut_within_a_long_answer_looks_at_each_item_a_few_times_only(opening: Item) -> None:
    items = Looked([opening, *({"role": "assistant", "content": str(number)} for number in range(1_000))])
    window(items, 500)
    assert items.looks < 5 * len(items)


def test_a_window_within_a_long_answer_begins_after_it() -> None:
    answer: list[Item] = [{"role": "assistant", "content": str(number)} for number in range(5)]
    question: Item = {"role": "user", "content": "And now?"}
    items: list[Item] = [{"type": "reasoning", "id": "rs_1"}, *answer, question, answer[0]]
    assert window(items, 5) == [question, answer[0]]
    assert window(items[:-2], 3) == []
