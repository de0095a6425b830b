"""Items: every JSON value comes back as it was, and nothing else is let in."""

from __future__ import annotations

import json
import math
import random
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Json, as_items, canonical, decode, digest, encode, text_of

# Lone surrogates too. Two halves that stand together are healed to the character that they stand for, as in
# any JSON reader: here they are whole from the start.
TEXT = st.text(st.characters()).map(lambda text: json.loads(json.dumps(text)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ANYTHING = st.recursive(
    st.none() | st.binary() | st.floats() | TEXT | st.integers() | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(st.integers(), max_size=2)
        | st.dictionaries(
            TEXT | st.integers() | st.sampled_from(["type", "role", "content"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON)
def test_what_is_encoded_is_read_back_as_it_was(value: Json) -> None:
    text = encode(value)
    assert repr(decode(text)) == repr(value)
    text.encode()
    assert "\x00" not in text


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=6), st.randoms(use_true_random=False))
def test_equal_values_have_one_digest_whatever_the_order_of_their_keys(
    value: dict[str, Json], order: random.Random
) -> None:
    keys = list(value)
    order.shuffle(keys)
    assert digest({key: value[key] for key in keys}) == digest(value)
    assert canonical(value).isascii()


@settings(deadline=None)
@given(JSON, JSON)
def test_different_values_have_different_digests(one: Json, two: Json) -> None:
    same_text = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (digest(one) == digest(two)) == same_text


@settings(deadline=None)
@given(ANYTHING)
def test_an_input_is_items_or_an_error_that_names_its_field(value: Json) -> None:
    items, refused = None, None
    try:
        items = as_items(value)
    except InvalidInput as error:
        refused = error
    if refused is None:
        assert items
        assert all(isinstance(item, dict) for item in items)
    else:
        assert refused.field.startswith("input")
        assert refused.remedy


@settings(deadline=None)
@given(ANYTHING)
def test_encoding_works_or_names_its_field(value: Json) -> None:
    for write in (encode, canonical):
        fields = ["value"]
        try:
            write(value)
        except InvalidInput as error:
            fields.append(error.field)
        assert set(fields) == {"value"}


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_the_text_of_any_item_is_a_text(item: dict[str, Json]) -> None:
    assert isinstance(text_of(item), str)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, b"my secret", {1: "my secret"}, {"a": {None: 1}}, {1, 2}]
)
def test_what_json_has_no_place_for_is_refused_without_being_told(value: Json) -> None:
    with pytest.raises(InvalidInput) as caught:
        encode([value], field="items[3]")
    assert "my secret" not in str(caught.value)
    assert caught.value.field == "items[3]"


def test_two_halves_of_a_character_come_back_as_the_character() -> None:
    assert decode(encode("\ud83e\uddfe")) == "🧾"


def test_a_cycle_is_refused() -> None:
    value: list[Json] = []
    value.append(value)
    with pytest.raises(InvalidInput):
        encode(value)


def test_the_callers_items_are_not_the_ones_that_are_kept() -> None:
    given_item = {"role": "user", "content": "hello"}
    (item,) = as_items([MappingProxyType(given_item)])
    given_item["content"] = "changed"
    assert item == {"role": "user", "content": "hello"}


def test_a_text_is_one_user_message() -> None:
    assert as_items("hello") == [{"type": "message", "role": "user", "content": "hello"}]


@pytest.mark.parametrize("empty", ["", "  \n", [], ()])
def test_an_empty_input_is_refused(empty: Json) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        as_items(empty)


def test_the_text_of_a_message_is_read_from_its_parts() -> None:
    parts = [
        {"type": "output_text", "text": "one "},
        {"type": "refusal", "refusal": "two"},
        "odd",
        {"text": 3},
    ]
    assert text_of({"content": parts}) == "one two"
