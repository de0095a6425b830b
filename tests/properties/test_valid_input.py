"""Whatever a history holds, what the model is given keeps the rules."""

from __future__ import annotations

import copy
import itertools

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper_storage.items import Item
from turnkeeper_worker.valid_input import OUTPUT_OF, make_valid, window

OUTPUTS = set(OUTPUT_OF.values())
ids = st.sampled_from(["a", "b", "c"])
kinds = st.sampled_from(["function_call", "custom_tool_call"])


def item(kind: str, **fields: object) -> Item:
    return {"type": kind, **fields}


items = st.one_of(
    st.builds(lambda kind, id: item(kind, call_id=id), kinds, ids),
    st.builds(lambda kind, id: item(f"{kind}_output", call_id=id), kinds, ids),
    st.builds(lambda role: item("message", role=role, content="x"), st.sampled_from(["user", "assistant"])),
    st.builds(
        lambda status: item("reasoning", id="r", summary=[], status=status), st.sampled_from([None, "x"])
    ),
    st.sampled_from([item("function_call", id=None), item("web_search_call"), item("compaction_trigger")]),
)
histories = st.lists(items, max_size=14)


def is_answered(valid: list[Item], index: int) -> bool:
    """Whether the next item of this call's id and kind, call or output, is its output."""
    call = valid[index]
    output = OUTPUT_OF[call["type"]]
    same = [
        later["type"]
        for later in valid[index + 1 :]
        if later.get("call_id") == call["call_id"] and later["type"] in (call["type"], output)
    ]
    return same[:1] == [output]


def is_produced(entry: Item) -> bool:
    return (
        entry["type"] in OUTPUT_OF or entry["type"] == "web_search_call" or entry.get("role") == "assistant"
    )


def keys(entries: list[Item]) -> list[tuple[object, ...]]:
    return [(entry["type"], entry.get("call_id"), entry.get("role")) for entry in entries]


def is_subsequence(part: list[tuple[object, ...]], whole: list[tuple[object, ...]]) -> bool:
    rest = iter(whole)
    return all(entry in rest for entry in part)


@given(histories)
def test_every_call_stands_before_its_one_output(history: list[Item]) -> None:
    valid = make_valid(history)
    calls = [index for index, entry in enumerate(valid) if entry["type"] in OUTPUT_OF]
    assert all(is_answered(valid, index) for index in calls)
    assert len(calls) == sum(entry["type"] in OUTPUTS for entry in valid)


@given(histories)
def test_reasoning_stands_before_what_it_produced(history: list[Item]) -> None:
    valid = make_valid(history)
    for entry, follower in itertools.zip_longest(valid, valid[1:], fillvalue=item("end")):
        if entry["type"] == "reasoning":
            assert follower["type"] == "reasoning" or is_produced(follower)
            assert "status" not in entry


@given(histories)
def test_doing_it_twice_changes_nothing_more(history: list[Item]) -> None:
    once = make_valid(history)
    assert make_valid(once) == once


@given(histories)
def test_order_stays_and_only_partnerless_kinds_are_left_out(history: list[Item]) -> None:
    before = copy.deepcopy(history)
    valid = make_valid(history)
    assert history == before
    assert is_subsequence(keys(valid), keys(history))
    assert [entry for entry in valid if entry["type"] == "message"] == [
        entry for entry in history if entry["type"] == "message"
    ]


@given(histories, st.integers(min_value=0, max_value=16))
def test_a_window_is_short_enough_and_tears_no_pair(history: list[Item], limit: int) -> None:
    valid = make_valid(history)
    seen = window(valid, limit)
    assert len(seen) <= limit
    assert is_subsequence(keys(seen), keys(valid))
    assert [entry for entry in make_valid(seen) if entry["type"] in OUTPUTS] == [
        entry for entry in seen if entry["type"] in OUTPUTS
    ]


@given(histories, st.integers(min_value=0, max_value=16))
def test_a_window_of_a_valid_input_is_valid(history: list[Item], limit: int) -> None:
    seen = window(make_valid(history), limit)
    without_trigger = [entry for entry in seen if entry["type"] != "compaction_trigger"]
    assert make_valid(without_trigger) == without_trigger
