"""What the console shows, as pure functions: words, fields, changes, bars, lines."""

from __future__ import annotations

import pytest

from turnkeeper_api.console.changes import Change, changes
from turnkeeper_api.console.conversation import lines_of
from turnkeeper_api.console.fields import Field, fields_of
from turnkeeper_api.console.gate import safe_next
from turnkeeper_api.console.words import duration, label_of, sentence
from turnkeeper_storage.items import Json


@pytest.mark.parametrize(
    ("name", "label"),
    [("order_id", "order id"), ("orderId", "order id"), ("refund", "refund"), ("VIP", "VIP"), ("_", "_")],
)
def test_names_of_programs_become_words(name: str, label: str) -> None:
    assert label_of(name) == label


def test_a_call_becomes_a_sentence() -> None:
    said = sentence("send_refund", {"order_id": "7", "amount": 120, "urgent": True, "note": None})
    assert said == "send refund with order id “7”, amount 120, urgent yes and note nothing"
    assert sentence("stop", {}) == "stop"
    assert sentence("stop", "{broken") == "stop with as it came “{broken”"
    assert len(sentence("tell", {"text": "x" * 10_000})) < 200


def test_spans_of_time_are_told_in_their_two_largest_units() -> None:
    told = [duration(seconds) for seconds in (-1, 0.0402, 3.14, 59.9, 3_700, 200_000)]
    assert told == ["0 ms", "40 ms", "3.1 s", "1 min", "1 h 1 min", "2 d 7 h"]


def test_changes_name_the_places_that_differ_and_no_others() -> None:
    before = {"order": {"id": 7, "lines": [1]}, "amount": 1, "note": "a", "same": [1, {"x": None}]}
    after = {"order": {"id": 8, "lines": [1]}, "amount": True, "same": [1, {"x": None}], "new": "b"}
    assert changes(before, after) == [
        Change("order.id", "order › id", "7", "8"),
        Change("amount", "amount", "1", "true"),
        Change("note", "note", "a", None),
        Change("new", "new", None, "b"),
    ]
    assert changes("{broken", {"amount": 1}) == [Change("", "the whole", "{broken", '{\n  "amount": 1\n}')]


def test_a_schema_becomes_fields_with_what_the_model_gave() -> None:
    schema = {
        "properties": {
            "order_id": {"type": "string", "description": "Which."},
            "amount": {"type": "number"},
            "speed": {"enum": ["slow", "fast"]},
            "gift": {"type": ["boolean", "null"]},
            "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "lines": {"type": "array", "items": {"type": "string"}},
            "what": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        },
        "required": ["order_id", "amount", "gift"],
    }
    given = {
        "order_id": "7",
        "amount": 1.5,
        "speed": "fast",
        "gift": None,
        "lines": ["a"],
        "what": 1,
        "made_up": 2,
    }
    fields = fields_of(schema, given)
    assert fields is not None
    assert [(one.name, one.kind, one.value) for one in fields] == [
        ("order_id", "text", "7"),
        ("amount", "number", "1.5"),
        ("speed", "choice", '"fast"'),
        ("gift", "boolean", ""),
        ("count", "integer", ""),
        ("lines", "json", '[\n  "a"\n]'),
        ("what", "json", "1"),
        ("made_up", "json", "2"),
    ]
    assert fields[0] == Field("order_id", "order id", "text", "7", "Which.", required=True, raw='"7"')
    assert [one.nullable for one in fields] == [False, False, True, True, True, True, True, True]


@pytest.mark.parametrize("value", [["x"], 3, None, "text", {"a": 1}])
@pytest.mark.parametrize(
    "schema", [None, 7, {"properties": 3}, {"properties": {"a": {"enum": 3}}, "required": "a"}]
)
def test_no_schema_and_no_value_make_fields_fail(schema: Json, value: Json) -> None:
    assert fields_of(schema, {"a": value}) is not None
    assert fields_of(schema, "{broken") is None


def test_a_value_that_does_not_fit_its_schema_is_shown_as_json() -> None:
    schema = {"properties": {"amount": {"type": "number"}}}
    fields = fields_of(schema, {"amount": "lots"})
    assert fields is not None
    assert (fields[0].kind, fields[0].value) == ("json", '"lots"')


def test_items_of_every_kind_become_lines() -> None:
    items: list[dict[str, Json]] = [
        {"role": "user", "content": "Hello"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "message", "role": "developer", "content": "Be kind"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "order_status", "arguments": '{"id":7}'},
        {"type": "function_call_output", "call_id": "c", "output": "on its way"},
        {"type": "function_call_output", "call_id": ["odd"], "output": [{"type": "input_text"}]},
        {"type": "web_search_call", "id": "w"},
        {"type": "reasoning", "summary": 3},
    ]
    assert [(line.kind, line.who, line.text) for line in lines_of(items)] == [
        ("user", "Person", "Hello"),
        ("assistant", "Agent", "Hi"),
        ("note", "Developer", "Be kind"),
        ("thought", "Reasoning", "hm"),
        ("call", "Tool call", "order status with id 7"),
        ("output", "Result of order status", "on its way"),
        ("output", "Result", '[\n  {\n    "type": "input_text"\n  }\n]'),
        ("other", "web_search_call", "web search call"),
        ("thought", "Reasoning", "(not told)"),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "",
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/v1/runs",
        "/consoles",
        "/console/\\x",
        "/console/\n",
    ],
)
def test_after_signing_in_one_is_led_to_pages_of_the_console_only(asked: str | None) -> None:
    assert safe_next(asked, "/console") == "/console"
    assert safe_next("/console/runs?status=failed", "/console") == "/console/runs?status=failed"
