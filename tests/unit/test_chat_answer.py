"""A chat completion as items, whole and in chunks; and the ways in which servers differ."""

from __future__ import annotations

import pytest

from tests.fakes.chat_server import chunk
from turnkeeper_storage.items import Item, Json
from turnkeeper_worker.models.base import Delta, ModelError
from turnkeeper_worker.models.chat_answer import StreamedCompletion, read_completion


def whole(message: dict[str, Json], reason: str | None = "stop", **fields: Json) -> dict[str, Json]:
    return {
        "id": "chatcmpl_1",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        **fields,
    }


def piece(index: int | None, id: str | None, name: str | None, arguments: Json) -> dict[str, Json]:
    """The delta of one piece of one call; what is None is not in it."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": id, "function": {k: v for k, v in function.items() if v is not None}}
    return {"tool_calls": [{k: v for k, v in call.items() if v is not None}]}


def streamed(*given: dict[str, Json], reason: str | None = "stop") -> tuple[list[Delta], list[Item]]:
    answer = StreamedCompletion()
    deltas = [delta for one in given for delta in answer.feed(chunk(one))]
    answer.feed(chunk({}, reason))
    return deltas, answer.response().items


def calls_of(items: list[Item]) -> list[tuple[str, str, str]]:
    return [(item["call_id"], item["name"], item["arguments"]) for item in items]


def test_text_and_calls_are_items_in_their_order() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"id": 7}'}}
    response = read_completion(whole({"content": "one moment", "tool_calls": [call]}, "tool_calls"))
    assert response.id == "chatcmpl_1"
    assert response.items == [
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "one moment", "annotations": []}],
        },
        {
            "type": "function_call",
            "status": "completed",
            "call_id": "a",
            "name": "look",
            "arguments": '{"id": 7}',
        },
    ]


def test_a_refusal_is_a_part_of_the_message() -> None:
    items = read_completion(whole({"content": None, "refusal": "no"})).items
    assert items[0]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_content_in_parts_is_read_without_the_thinking() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]
    items = read_completion(whole({"content": parts})).items
    assert [part["text"] for part in items[0]["content"]] == ["yes"]


def test_an_answer_with_nothing_in_it_has_no_items() -> None:
    assert read_completion(whole({"content": ""})).items == []


def test_arguments_given_as_an_object_are_its_json() -> None:
    call = {"id": "a", "function": {"name": "look", "arguments": {"id": 7}}}
    assert calls_of(read_completion(whole({"tool_calls": [call]})).items) == [("a", "look", '{"id":7}')]


def test_calls_without_ids_get_some() -> None:
    calls = [{"function": {"name": name, "arguments": ""}} for name in ("look", "find")]
    found = calls_of(read_completion(whole({"tool_calls": calls})).items)
    assert found == [("call_0", "look", ""), ("call_1", "find", "")]


def test_usage_has_its_details() -> None:
    usage = {
        "prompt_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens": 6,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    read = read_completion(whole({"content": "x"}, usage=usage)).usage
    assert (read.requests, read.input_tokens, read.cached_tokens) == (1, 10, 4)
    assert (read.output_tokens, read.reasoning_tokens) == (6, 2)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "7"}, {"prompt_tokens_details": None}, []])
def test_what_a_server_does_not_count_is_nothing(usage: Json) -> None:
    read = read_completion(whole({"content": "x"}, usage=usage)).usage
    assert (read.requests, read.total_tokens) == (1, 0)


@pytest.mark.parametrize(
    ("completion", "code", "retryable"),
    [
        (whole({"content": "half"}, "length"), "model_incomplete", False),
        (whole({"content": "half"}, "content_filter"), "model_incomplete", False),
        (whole({"content": ""}, "error"), "model_failed", True),
        ({"error": {"code": 502, "message": "x"}}, "model_failed", True),
        ({"error": {"code": 429, "message": "x"}}, "model_rate_limited", True),
        ({"error": {"code": "bad_prompt", "message": "x"}}, "model_failed", False),
        ({"error": "x", "choices": []}, "model_failed", True),
        ({"choices": []}, "model_broken_answer", True),
        ({"choices": [{"finish_reason": "stop"}]}, "model_broken_answer", True),
        ("no object", "model_broken_answer", True),
    ],
)
def test_what_is_no_whole_answer_has_its_code(completion: Json, code: str, retryable: bool) -> None:
    with pytest.raises(ModelError) as caught:
        read_completion(completion)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_an_answer_without_a_reason_is_whole_when_it_is_not_streamed() -> None:
    assert len(read_completion(whole({"content": "x"}, None)).items) == 1


def test_pieces_of_calls_are_put_together_by_index() -> None:
    deltas, items = streamed(
        piece(0, "a", "look", ""),
        piece(1, "b", "find", ""),
        piece(0, None, None, '{"id":'),
        piece(1, None, None, "{}"),
        piece(0, None, None, "7}"),
    )
    assert calls_of(items) == [("a", "look", '{"id":7}'), ("b", "find", "{}")]
    assert [(one.call_id, one.output_index, one.text) for one in deltas] == [
        ("a", 0, '{"id":'),
        ("b", 1, "{}"),
        ("a", 0, "7}"),
    ]


@pytest.mark.parametrize("index", [0, None], ids=["all of index 0", "no index"])
def test_whole_calls_in_a_chunk_each_are_kept_apart_by_their_ids(index: int | None) -> None:
    _, items = streamed(piece(index, "a", "look", "{}"), piece(index, "b", "look", '{"id":7}'))
    assert calls_of(items) == [("a", "look", "{}"), ("b", "look", '{"id":7}')]


def test_pieces_without_an_index_belong_to_the_newest_call() -> None:
    _, items = streamed(
        piece(None, "a", "look", "{"),
        piece(None, None, None, "}"),
        piece(None, "b", "find", "["),
        piece(None, "b", None, "]"),
    )
    assert calls_of(items) == [("a", "look", "{}"), ("b", "find", "[]")]


@pytest.mark.parametrize(("id", "name"), [("a", "look"), ("other", None)])
def test_ids_and_names_that_come_again_change_nothing(id: str, name: str | None) -> None:
    _, items = streamed(piece(0, "a", "look", "{"), piece(0, id, name, "}"))
    assert calls_of(items) == [("a", "look", "{}")]


def test_calls_streamed_without_ids_have_the_ids_of_their_deltas() -> None:
    deltas, items = streamed(piece(0, None, "look", "{}"), piece(1, None, "find", "[]"))
    assert [one.call_id for one in deltas] == [item["call_id"] for item in items] == ["call_0", "call_1"]


def test_calls_are_counted_after_the_text() -> None:
    deltas, _ = streamed({"content": "hm"}, piece(0, "a", "look", "{}"))
    assert [(one.kind, one.output_index) for one in deltas] == [("text", 0), ("arguments", 1)]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_shown_and_not_kept(name: str) -> None:
    deltas, items = streamed({name: "hm"}, {"content": "yes"})
    assert [(one.kind, one.text) for one in deltas] == [("reasoning", "hm"), ("text", "yes")]
    assert [item["type"] for item in items] == ["message"]


def test_a_refusal_is_streamed_as_text() -> None:
    deltas, items = streamed({"refusal": "I "}, {"refusal": "won't"})
    assert [(one.kind, one.text) for one in deltas] == [("text", "I "), ("text", "won't")]
    assert items[0]["content"] == [{"type": "refusal", "refusal": "I won't"}]


@pytest.mark.parametrize("reason", [None, ""])
def test_a_stream_without_a_reason_is_cut(reason: str | None) -> None:
    with pytest.raises(ModelError) as caught:
        streamed({"content": "half"}, reason=reason)
    assert (caught.value.code, caught.value.retryable) == ("stream_cut", True)


def test_text_and_reason_may_share_a_chunk_and_usage_may_come_at_any_time() -> None:
    answer = StreamedCompletion()
    answer.feed({**chunk({"content": "y"}), "usage": {"completion_tokens": 1}})
    deltas = answer.feed({**chunk({"content": "es"}, "stop"), "usage": {"completion_tokens": 2}})
    answer.feed({"choices": [], "usage": None})
    response = answer.response()
    assert [one.text for one in deltas] == ["es"]
    assert response.items[0]["content"][0]["text"] == "yes"
    assert response.usage.output_tokens == 2


def test_another_choice_is_not_mixed_in() -> None:
    answer = StreamedCompletion()
    second = {"index": 1, "delta": {"content": "no"}, "finish_reason": None}
    answer.feed({"choices": [second]})
    answer.feed(chunk({"content": "yes"}, "stop"))
    assert answer.response().items[0]["content"][0]["text"] == "yes"


@pytest.mark.parametrize(
    "given", [{"error": {"code": 500}}, {"choices": [{"index": 0, "error": {"code": 500}}]}]
)
def test_a_chunk_that_tells_of_a_fault_ends_the_answer(given: dict[str, Json]) -> None:
    with pytest.raises(ModelError) as caught:
        StreamedCompletion().feed(given)
    assert (caught.value.code, caught.value.retryable) == ("model_failed", True)


def test_a_chunk_that_is_no_object_is_broken() -> None:
    with pytest.raises(ModelError, match="model_broken_answer"):
        StreamedCompletion().feed([])
