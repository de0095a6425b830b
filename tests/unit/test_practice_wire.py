"""The protocol's objects, checked with the types of the real client."""

from __future__ import annotations

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from turnkeeper.practice import wire
from turnkeeper_storage.items import Item

EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
OUTPUT: list[Item] = [
    wire.reasoning("thinking it over", encrypted_content="x"),
    wire.message("two words"),
    wire.function_call("order_status", {"order_id": "7"}),
    wire.function_call("order_status", '{"order_id": "9"}'),
]


def test_a_response_is_one_for_the_clients_types() -> None:
    full = wire.response({"model": "m", "input": "hello", "metadata": {"run_id": "r"}}, OUTPUT)
    parsed = Response.model_validate(full, strict=True)
    assert parsed.output_text == "two words"
    assert parsed.metadata == {"run_id": "r"}


def test_each_event_is_one_for_the_clients_types() -> None:
    for event in wire.events(wire.response({"input": "hello"}, OUTPUT)):
        assert EVENTS.validate_python(event).type == event["type"]


def test_events_come_in_the_order_of_the_real_stream() -> None:
    types = [event["type"] for event in wire.events(wire.response({"input": "x"}, [wire.message("hi")]))]
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_events_are_numbered_from_zero_without_a_gap() -> None:
    events = wire.events(wire.response({"input": "x"}, OUTPUT))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("text", ["", " ", "a  b", "line\n\nline ", '{"a": [1, 2]}', "\ttab  "])
def test_the_deltas_add_up_to_the_text(text: str) -> None:
    events = wire.events(wire.response({"input": "x"}, [wire.message(text), wire.function_call("f", text)]))
    for kind in ("response.output_text.delta", "response.function_call_arguments.delta"):
        assert "".join(event["delta"] for event in events if event["type"] == kind) == text


def test_only_the_last_event_is_terminal() -> None:
    types = [event["type"] for event in wire.events(wire.response({"input": "x"}, OUTPUT))]
    assert [kind in wire.TERMINAL_EVENTS for kind in types] == [False] * (len(types) - 1) + [True]


def test_usage_counts_words_and_is_the_same_each_time() -> None:
    request = {"instructions": "be kind", "input": "one two three"}
    first, second = (wire.usage(request, [wire.message("a b")]) for _ in range(2))
    assert first == second
    assert (first["output_tokens"], first["total_tokens"]) == (2, first["input_tokens"] + 2)
    assert first["input_tokens"] == 5
