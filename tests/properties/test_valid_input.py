"""Whatever a history holds, what the model is given keeps the rules."""

from __future__ import annotations

import copy
import itertools

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper_storage.input_items import clean
from turnkeeper_storage.items import Item
from turnkeeper_storage.valid_input import OUTPUT_OF, call_id, make_valid, window

OUTPUTS = set(OUTPUT_OF.values())
ids = st.sampled_from(["a", "b", "c"])
kinds = st.sampled_from(sorted(OUTPUT_OF))
# the fields of answers that an input must not have, and one that it keeps
extras = st.fixed_dictionaries(
    {},
    optional={
        "parsed": st.just({"n": 1}),
        "parsed_arguments": st.just({}),
        "created_by": st.just("server"),
        "status": st.sampled_from([None, "completed"]),
        "phase": st.just("final_answer"),
    },
)


def item(kind: str, **fields: object) -> Item:
    return {"type": kind, **fields}


def call(kind: str, id: str) -> Item:
    """A call of that kind: one kind names its id otherwise."""
    return item(kind, **{"id" if kind == "mcp_approval_request" else "call_id": id})


def output(kind: str, id: str) -> Item:
    """The output of a call of that kind."""
    field = "approval_request_id" if kind == "mcp_approval_request" else "call_id"
    return item(OUTPUT_OF[kind], **{field: id})


plain = st.one_of(
    st.builds(call, kinds, ids),
    st.builds(output, kinds, ids),
    st.builds(lambda role: item("message", role=role, content="x"), st.sampled_from(["user", "assistant"])),
    st.builds(lambda: item("message", role="assistant", content=[{"type": "output_text", "parsed": 1}])),
    st.builds(lambda: item("reasoning", id="r", summary=[])),
    st.sampled_from([item("function_call", id=None), item("web_search_call"), item("compaction_trigger")]),
)
items = st.builds(lambda one, more: {**one, **more}, plain, extras)
# of few kinds, so that pairs meet; and of all
histories = st.one_of(
    st.lists(items, max_size=14),
    st.lists(items.filter(lambda one: one["type"].startswith(("function", "mcp", "reason"))), max_size=14),
)


def is_answered(valid: list[Item], index: int) -> bool:
    """Whether the next item of this call's id and kind, call or output, is its output."""
    kind, tie = valid[index]["type"], call_id(valid[index])
    same = [
        later["type"]
        for later in valid[index + 1 :]
        if later["type"] in (kind, OUTPUT_OF[kind]) and call_id(later) == tie
    ]
    return same[:1] == [OUTPUT_OF[kind]]


def is_produced(entry: Item) -> bool:
    return (
        entry["type"] in OUTPUT_OF or entry["type"] == "web_search_call" or entry.get("role") == "assistant"
    )


def keys(entries: list[Item]) -> list[tuple[object, ...]]:
    return [(entry["type"], call_id(entry), entry.get("role")) for entry in entries]


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


@given(histories)
def test_what_an_input_must_not_have_is_gone_and_the_rest_is_kept(history: list[Item]) -> None:
    for entry in make_valid(history):
        assert not {"parsed", "parsed_arguments", "created_by"} & entry.keys()
        assert entry.get("id", "") is not None
        assert entry.get("status", "") is not None
        assert entry["type"] != "reasoning" or "status" not in entry
        assert "parsed" not in repr(entry)
    phases = [entry.get("phase") for entry in make_valid(history) if entry["type"] == "message"]
    assert phases == [entry.get("phase") for entry in history if entry["type"] == "message"]


@given(histories)
def test_a_compaction_trigger_is_the_last_or_is_not_there(history: list[Item]) -> None:
    assert all(entry["type"] != "compaction_trigger" for entry in make_valid(history)[:-1])


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
        clean(entry) for entry in history if entry["type"] == "message"
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
