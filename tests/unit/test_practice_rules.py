"""The practice model's rules, without HTTP."""

from __future__ import annotations

import json

import pytest

from turnkeeper.practice import wire
from turnkeeper.practice.controls import Control, find_controls, without_controls
from turnkeeper.practice.rules import plan
from turnkeeper.practice.samples import Hints, sample
from turnkeeper_storage.items import Item, Json, text_of


def tool(name: str, **properties: Json) -> dict[str, Json]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "name": name, "parameters": schema, "strict": True}


STATUS = tool("order_status", order_id={"type": "string"})
REFUND = tool("refund", order_id={"type": "string"}, amount={"type": "number"})
WEATHER = tool("city_weather", city={"type": "string"}, unit={"enum": ["c", "f"]})


def asked(text: str, *tools: dict[str, Json], **more: Json) -> list[Item]:
    return plan({"input": text, "tools": list(tools), **more})


def calls_of(items: list[Item]) -> list[tuple[str, Json]]:
    return [
        (item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"
    ]


def test_an_order_is_looked_up() -> None:
    assert calls_of(asked("Where is order 7?", REFUND, STATUS)) == [("order_status", {"order_id": "7"})]


@pytest.mark.parametrize(
    "words",
    ["orders 7 and 9", "orders 7, 9", "orders #7 & #9", "order 7 and then order 9", "Orders 7, and 9"],
)
def test_two_orders_are_looked_up_side_by_side(words: str) -> None:
    assert calls_of(asked(f"What of {words}?", STATUS)) == [
        ("order_status", {"order_id": "7"}),
        ("order_status", {"order_id": "9"}),
    ]


def test_calls_of_one_turn_have_ids_of_their_own() -> None:
    calls = asked("orders 1, 2, 3", STATUS)
    assert len({call["call_id"] for call in calls}) == 3


def test_without_parallel_calls_there_is_one() -> None:
    assert len(asked("orders 1, 2, 3", STATUS, parallel_tool_calls=False)) == 1


def test_a_refund_names_order_and_amount() -> None:
    found = calls_of(asked("Please refund order 7, 12.50 €", STATUS, REFUND))
    assert found == [("refund", {"order_id": "7", "amount": 12.5})]


def test_a_refund_without_an_amount_has_a_default_one() -> None:
    assert calls_of(asked("refund order 7", REFUND)) == [("refund", {"order_id": "7", "amount": 10.0})]


def test_an_order_id_is_a_number_where_the_schema_wants_one() -> None:
    numbered = tool("get_order", order_id={"type": "integer"})
    assert calls_of(asked("order 7", numbered)) == [("get_order", {"order_id": 7})]


def test_a_tool_named_in_the_message_is_called_with_its_quoted_text() -> None:
    found = calls_of(asked('Tell me the city weather of "Oslo"', STATUS, WEATHER))
    assert found == [("city_weather", {"city": "Oslo", "unit": "c"})]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("auto", ["order_status"]),
        ("required", ["order_status"]),
        ({"type": "function", "name": "city_weather"}, ["city_weather"]),
    ],
)
def test_the_tool_choice_is_kept(choice: Json, names: list[str]) -> None:
    found = calls_of(asked("order 7", STATUS, WEATHER, tool_choice=choice))
    assert [name for name, _ in found] == names


def test_a_required_call_happens_even_if_nothing_fits() -> None:
    assert [name for name, _ in calls_of(asked("hello", WEATHER, tool_choice="required"))] == ["city_weather"]


def test_outputs_at_the_end_are_quoted() -> None:
    call = wire.function_call("order_status", {"order_id": "7"}, "c1")
    output = {"type": "function_call_output", "call_id": "c1", "output": "on its way"}
    question = {"role": "user", "content": "order 7"}
    (answer,) = plan({"input": [question, call, output], "tools": [STATUS]})
    assert text_of(answer) == '[practice model] Here is what I found: order_status said "on its way".'


def test_outputs_of_an_earlier_turn_are_not_quoted_again() -> None:
    call = wire.function_call("order_status", {"order_id": "7"}, "c1")
    output = {"type": "function_call_output", "call_id": "c1", "output": "on its way"}
    (answer,) = plan({"input": [call, output, {"role": "user", "content": "thanks"}], "tools": [STATUS]})
    assert "on its way" not in text_of(answer)


def test_any_other_message_is_repeated_with_the_number_of_items_before_it() -> None:
    history = [{"role": "user", "content": "hi"}, wire.message("hello")]
    (answer,) = plan({"input": [*history, {"role": "user", "content": "thanks"}]})
    assert text_of(answer).startswith("[practice model]")
    assert '"thanks"' in text_of(answer)
    assert "2 items of history" in text_of(answer)


def test_structured_output_is_json_for_the_schema() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    (answer,) = plan({"input": "hello", "text": wanted})
    assert json.loads(text_of(answer)) == {"ok": False}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 10}, "practice.."),
        ({"type": "string", "maxLength": 3}, "pra"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": ["string", "null"]}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        ({"const": "x"}, "x"),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"$ref": "#/$defs/Colour", "$defs": {"Colour": {"enum": ["red"]}}}, "red"),
        ({"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
    ],
)
def test_a_sample_is_the_least_that_fits_its_schema(schema: dict[str, Json], value: Json) -> None:
    assert sample(schema) == value


def test_a_schema_that_needs_itself_ends() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    depth, value = 0, sample(schema)
    while value is not None:
        depth, value = depth + 1, value["next"]
    assert 0 < depth < 50


def test_a_hint_fills_an_optional_property_and_one_that_may_be_null() -> None:
    nullable = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    schema = {"type": "object", "properties": {"amount": nullable}}
    assert sample(schema, Hints(named={"amount": "12.5"})) == {"amount": 12.5}


@pytest.mark.parametrize(
    ("text", "controls"),
    [
        ("!error 429", [Control("error", 429)]),
        ("please !error 500 once, thanks", [Control("error", 500, once=True)]),
        ("!slow 0.5 !cut once", [Control("slow", 0.5), Control("cut", once=True)]),
        ("!error 200 and !errors and !cutter", []),
    ],
)
def test_control_words_are_found(text: str, controls: list[Control]) -> None:
    assert find_controls(text) == controls


def test_the_rules_do_not_see_control_words() -> None:
    assert without_controls("!slow 3 order 7 !error 500 once") == "order 7"
