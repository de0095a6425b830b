"""The strict form of schemas, and typed answers."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # the one that pydantic takes before Python 3.12

from turnkeeper_storage.errors import ConfigurationError, RunFailure
from turnkeeper_storage.items import Json
from turnkeeper_worker.output_type import output_type
from turnkeeper_worker.tool_schema import strict_schema


class Color(enum.StrEnum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Node(BaseModel):
    name: str
    parent: Annotated[Node | None, Field(description="above")] = None
    twin: Node = Field(description="beside")


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Point(TypedDict):
    x: int


@dataclass
class Size:
    width: int


def strict(hint: Json) -> dict[str, Json]:
    """The strict schema of one property `a` of this type."""
    schema = TypeAdapter(hint).json_schema()
    definitions = schema.pop("$defs", {})
    whole = {"type": "object", "properties": {"a": schema}, "$defs": definitions}
    return strict_schema(whole, where="here")


def keywords(schema: Json) -> set[str]:
    """All keywords used anywhere in a schema."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for name, value in schema.items():
        found |= set().union(*map(keywords, value.values())) if name in _NAMED else keywords(value)
    return found


_NAMED = ("properties", "$defs")


@pytest.mark.parametrize(
    "hint",
    [
        Cat,
        Node,
        list[Size],
        Color,
        datetime,
        uuid.UUID,
        Decimal,
        AnyUrl,
        set[str],
        Point,
        Annotated[str, Field(min_length=1, max_length=3, pattern="^a")],
        Annotated[Cat | Dog, Field(discriminator="kind")],
        tuple[int, ...],
        int | None,
    ],
)
def test_a_strict_schema_has_only_keywords_that_servers_take(hint: Json) -> None:
    allowed = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const"}
    allowed |= {"$defs", "$ref", "description", "pattern", "format", "minimum"}
    assert keywords(strict(hint)) <= allowed


def test_nested_objects_are_closed_and_all_is_required() -> None:
    assert strict(Cat)["properties"]["a"] == {
        "type": "object",
        "properties": {"kind": {"type": "string", "const": "cat"}, "lives": {"type": "integer"}},
        "required": ["kind", "lives"],
        "additionalProperties": False,
    }


def test_a_discriminated_union_is_a_plain_union() -> None:
    schema = strict(Annotated[Cat | Dog, Field(discriminator="kind")])
    assert schema["properties"]["a"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert set(schema["$defs"]) == {"Cat", "Dog"}


def test_a_reference_has_no_siblings_and_a_recursive_one_ends() -> None:
    def check(schema: Json) -> None:
        if isinstance(schema, dict):
            assert "$ref" not in schema or set(schema) == {"$ref"}
            for value in schema.values():
                check(value)
        elif isinstance(schema, list):
            for value in schema:
                check(value)

    schema = strict(Node)
    check(schema)
    twin = schema["$defs"]["Node"]["properties"]["twin"]
    assert twin["description"] == "beside"
    assert twin["properties"]["twin"] == {"$ref": "#/$defs/Node"}


def test_a_property_named_like_a_keyword_is_a_property() -> None:
    class Odd(BaseModel):
        title: str
        default: int
        properties: list[str]

    schema = strict(Odd)["properties"]["a"]
    assert schema["required"] == ["title", "default", "properties"]


def test_formats_and_patterns_beyond_constrained_decoding_are_dropped() -> None:
    assert strict(AnyUrl)["properties"]["a"] == {"type": "string"}
    assert strict(datetime)["properties"]["a"] == {"type": "string", "format": "date-time"}
    assert "pattern" not in keywords(strict(Decimal))


@pytest.mark.parametrize("hint", [Loose, dict[str, int], list[Loose], Json, list[Json]])
def test_what_strict_mode_cannot_say_is_an_error_that_names_the_place(hint: Json) -> None:
    with pytest.raises(ConfigurationError, match=r"here 'a(\[\])?': it takes"):
        strict(hint)


@pytest.mark.parametrize(
    ("hint", "answer", "value"),
    [
        (Cat, '{"kind": "cat", "lives": 3}', {"kind": "cat", "lives": 3}),
        (Size, '{"width": 3}', {"width": 3}),
        (Point, '{"x": 1}', {"x": 1}),
        (list[Point], '{"response": [{"x": 1}]}', [{"x": 1}]),
        (Cat | Dog, '{"response": {"kind": "dog"}}', {"kind": "dog"}),
        (int, '{"response": 7}', 7),
        (list[datetime], '{"response": ["2030-01-01T00:00:00Z"]}', ["2030-01-01T00:00:00Z"]),
    ],
)
def test_an_answer_becomes_plain_json_of_its_type(hint: object, answer: str, value: Json) -> None:
    wanted = output_type(hint, agent="a")
    assert wanted.parse(answer) == value
    assert wanted.text_format["schema"]["type"] == "object"
    assert "anyOf" not in wanted.text_format["schema"]
    assert (wanted.text_format["type"], wanted.text_format["strict"]) == ("json_schema", True)


def test_a_recursive_answer_has_a_schema() -> None:
    schema = output_type(Node, agent="a").text_format["schema"]
    assert (schema["type"], "$defs" in schema) == ("object", True)


@pytest.mark.parametrize("answer", ["", "no", "{}", "[1]", '{"kind": "cow", "lives": 1}'])
def test_an_answer_that_does_not_fit_fails_the_run_and_is_not_quoted(answer: str) -> None:
    with pytest.raises(RunFailure) as caught:
        output_type(Cat, agent="a").parse(answer)
    assert caught.value.code == "output_invalid"
    assert "cow" not in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("hint", [dict[str, int], type(print), 3, Loose])
def test_an_output_type_without_a_strict_schema_is_refused(hint: object) -> None:
    with pytest.raises(ConfigurationError, match=r"agent 'a', output_type"):
        output_type(hint, agent="a")
