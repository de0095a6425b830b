"""Events and responses of servers that differ from OpenAI's."""

from __future__ import annotations

import pytest

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.answer import StreamedAnswer, read_response
from turnkeeper_worker.models.base import Delta, ModelError


def completed(output: list[Json]) -> dict[str, Json]:
    return {
        "type": "response.completed",
        "response": {"id": "r", "status": "completed", "output": output, "usage": None},
    }


def test_events_without_indexes_mean_the_newest_item() -> None:
    answer = StreamedAnswer()
    answer.feed({"type": "response.output_item.added", "item": {"type": "message"}})
    answer.feed({"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "c"}})
    delta = answer.feed({"type": "response.function_call_arguments.delta", "delta": "{}"})
    assert delta == Delta("arguments", "{}", None, "c", 1)


def test_a_terminal_event_without_output_takes_the_finished_items() -> None:
    answer = StreamedAnswer()
    item = {"type": "message", "role": "assistant", "content": []}
    answer.feed({"type": "response.output_item.done", "item": item})
    answer.feed(completed([]))
    assert answer.response().items == [item]


def test_unknown_events_and_empty_deltas_are_passed_over() -> None:
    answer = StreamedAnswer()
    assert answer.feed({"type": "response.brand_new"}) is None
    assert answer.feed({"type": "response.output_text.delta", "delta": ""}) is None
    assert not answer.is_complete


def test_a_nested_error_without_a_type_is_a_failure() -> None:
    with pytest.raises(ModelError) as caught:
        StreamedAnswer().feed({"error": {"code": 503, "message": "secret"}})
    assert (caught.value.code, caught.value.retryable) == ("model_failed", True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("event", [None, [], "text", 3])
def test_an_event_that_is_no_object_is_a_broken_answer(event: Json) -> None:
    with pytest.raises(ModelError, match="model_broken_answer"):
        StreamedAnswer().feed(event)


@pytest.mark.parametrize(
    "response", ["<html>", None, {}, {"status": "completed"}, {"status": "completed", "output": ["x"]}]
)
def test_a_response_without_items_is_a_broken_answer(response: Json) -> None:
    with pytest.raises(ModelError, match="model_broken_answer"):
        read_response(response)


def test_a_background_response_is_not_an_answer() -> None:
    with pytest.raises(ModelError, match="background"):
        read_response({"status": "queued", "output": []})


def test_counts_that_a_server_does_not_give_are_zero() -> None:
    response = {
        "output": [],
        "usage": {"input_tokens": 3, "output_tokens": "many", "input_tokens_details": None},
    }
    usage = read_response(response).usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (1, 3, 0, 0)


def test_a_servers_prose_in_place_of_a_code_is_not_repeated() -> None:
    with pytest.raises(ModelError, match="unknown"):
        read_response({"status": "failed", "error": {"code": "you said: my password"}})
