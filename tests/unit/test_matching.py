"""Whether what a service gives back is what was given to it."""

from __future__ import annotations

import pytest

from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.matching import can_be_kept, count_standing, is_same_item

CALL: Item = {"type": "function_call", "call_id": "c_1", "name": "look", "arguments": '{"a": 1}'}
OUTPUT: Item = {"type": "function_call_output", "call_id": "c_1", "output": "fine"}
REASONING: Item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
SHELL: Item = {"type": "reasoning", "summary": []}


def said(role: str, *parts: Item, **more: object) -> Item:
    return {"type": "message", "role": role, "content": list(parts), **more}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            user_message("hi"),
            said("user", {"type": "input_text", "text": "hi"}, id="msg_1", status="completed"),
        ),
        ({"role": "user", "content": "hi"}, user_message("hi")),
        (
            {"role": "assistant", "content": "hi"},
            said("assistant", {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}),
        ),
        (
            said("user", {"type": "input_image", "image_url": "data:…", "detail": "auto"}),
            said("user", {"type": "input_image", "file_id": "file_1"}),
        ),
        (CALL, {**CALL, "id": "fc_1", "status": "completed", "caller": {"type": "direct"}}),
        (CALL, {**CALL, "arguments": '{"a":1}'}),
        ({**CALL, "arguments": '{"a":'}, {**CALL, "arguments": '{"a":'}),
        (OUTPUT, {**OUTPUT, "output": [{"type": "input_text", "text": "fine"}], "name": "look"}),
        (REASONING, {**REASONING, "status": "completed", "content": []}),
        (REASONING, {"type": "reasoning", "id": "rs_1", "summary": []}),
        ({"type": "web_search_call", "id": "ws_1", "action": {}}, {"type": "web_search_call", "id": "ws_1"}),
    ],
)
def test_what_a_service_adds_or_writes_otherwise_makes_no_difference(given: Item, shown: Item) -> None:
    assert is_same_item(given, shown)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (user_message("hi"), user_message("ho")),
        (user_message("hi"), {"role": "assistant", "content": "hi"}),
        (user_message(""), said("user")),
        (said("user", {"type": "input_image"}), said("user", {"type": "input_file"})),
        (
            said("assistant", {"type": "refusal", "refusal": "no"}),
            said("assistant", {"type": "refusal", "refusal": "never"}),
        ),
        (CALL, OUTPUT),
        (CALL, {**CALL, "call_id": "c_2"}),
        (CALL, {**CALL, "name": "see"}),
        (CALL, {**CALL, "arguments": '{"a": 2}'}),
        (CALL, {**CALL, "arguments": '{"a": NaN}'}),
        (OUTPUT, {**OUTPUT, "output": "bad"}),
        (REASONING, {**REASONING, "id": "rs_2"}),
        (REASONING, {**REASONING, "encrypted_content": "gBBB"}),
        (user_message("hi"), {}),
    ],
)
def test_what_says_something_else_is_another_item(given: Item, shown: Item) -> None:
    assert not is_same_item(given, shown)


def messages(words: str) -> list[Item]:
    return [user_message(word) for word in words]


@pytest.mark.parametrize(
    ("planned", "shown", "standing"),
    [("abc", "", 0), ("abc", "ab", 2), ("aaa", "aa", 2), ("abc", "abc", 3), ("", "", 0)],
)
def test_a_beginning_of_the_plan_is_counted(planned: str, shown: str, standing: int) -> None:
    assert count_standing(messages(planned), messages(shown)) == standing


@pytest.mark.parametrize(("planned", "shown"), [("abc", "b"), ("abc", "abcd"), ("abc", "abx"), ("", "a")])
def test_anything_else_is_not(planned: str, shown: str) -> None:
    assert count_standing(messages(planned), messages(shown)) is None


@pytest.mark.parametrize(
    ("shown", "standing"),
    [([], 0), (messages("a"), 2), ([*messages("a"), *messages("b")], 4)],
)
def test_items_that_no_service_keeps_stand_with_what_is_around_them(shown: list[Item], standing: int) -> None:
    planned = [SHELL, *messages("a"), SHELL, *messages("b"), SHELL]
    assert not can_be_kept(SHELL)
    assert can_be_kept(REASONING)
    assert count_standing(planned, shown) == standing
