"""Whatever a history holds, its chat form keeps calls, texts and order, and comes back as the same items."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.chat_server import chunk, deltas, pieces
from turnkeeper_storage.items import Item, Json, text_of
from turnkeeper_storage.valid_input import make_valid
from turnkeeper_worker.models.base import ModelError
from turnkeeper_worker.models.chat_answer import StreamedCompletion, read_completion
from turnkeeper_worker.models.chat_items import to_messages

texts = st.text(min_size=1, max_size=12)
names = st.sampled_from(["look", "find"])
arguments = st.one_of(texts, st.dictionaries(texts, st.integers() | texts, max_size=3).map(json.dumps))
thought: Item = {"type": "reasoning", "id": "rs_1", "summary": []}


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": text}


def said(text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part]}


def call(name: str, given: str) -> Item:
    return {"type": "function_call", "status": "completed", "call_id": "", "name": name, "arguments": given}


# A turn as either model class makes it: some text or none, then some calls, or none.
turns = st.tuples(
    st.lists(texts, max_size=1), st.lists(st.builds(call, names, arguments), max_size=3)
).filter(any)


@st.composite
def histories(draw: st.DrawFn) -> list[Item]:
    """Conversations as they are stored: each call answered before the next turn; ids may come again."""
    history: list[Item] = []
    for text, turn in draw(st.lists(st.tuples(texts, turns), max_size=4)):
        called = [{**one, "call_id": f"call_{place}"} for place, one in enumerate(turn[1])]
        outputs = [
            {"type": "function_call_output", "call_id": one["call_id"], "output": draw(st.text(max_size=5))}
            for one in called
        ]
        thoughts = [thought] if draw(st.booleans()) else []
        history += [user(text), *thoughts, *map(said, turn[0]), *called, *outputs]
    return history


def echoed(message: dict[str, Json], *, streamed: bool) -> list[Item]:
    """What a server's answer is read as that says this message again."""
    if not streamed:
        choice = {"message": message, "finish_reason": "stop"}
        return read_completion({"choices": [choice]}).items
    answer = StreamedCompletion()
    for delta in deltas({"content": None, "refusal": None, **message}):
        answer.feed(chunk(delta))
    answer.feed(chunk({}, "stop"))
    return answer.response().items


def read_back(messages: list[dict[str, Json]], *, streamed: bool) -> list[Item]:
    items: list[Item] = []
    for message in messages:
        if message["role"] == "assistant":
            items += echoed(message, streamed=streamed)
        elif message["role"] == "tool":
            ids = {"call_id": message["tool_call_id"], "output": message["content"]}
            items.append({"type": "function_call_output", **ids})
        else:
            items.append(user(message["content"]))
    return items


@given(histories(), st.booleans())
def test_a_history_said_again_is_the_same_history(history: list[Item], streamed: bool) -> None:
    kept = [item for item in history if item["type"] != "reasoning"]
    assert read_back(to_messages("", history), streamed=streamed) == kept


@given(histories())
def test_what_is_read_from_chat_is_a_valid_input_for_any_model(history: list[Item]) -> None:
    items = read_back(to_messages("", history), streamed=False)
    assert make_valid(items) == items
    assert not any("id" in item for item in items), "servers refuse ids that they did not give"


ids = st.sampled_from(["a", "b", "c"])
loose = st.one_of(
    texts.map(user),
    texts.map(said),
    st.just(thought),
    st.builds(lambda id: {**call("look", "{}"), "call_id": id}, ids),
    st.builds(lambda id: {"type": "function_call_output", "call_id": id, "output": f"of {id}"}, ids),
)


@given(st.lists(loose, max_size=14).map(make_valid))
def test_every_calling_message_is_followed_by_its_outputs(items: list[Item]) -> None:
    messages = to_messages("", items)
    places = [place for place, message in enumerate(messages) if "tool_calls" in message]
    for place in places:
        wanted = [one["id"] for one in messages[place]["tool_calls"]]
        follow = messages[place + 1 : place + 1 + len(wanted)]
        assert sorted(wanted) == sorted(message.get("tool_call_id", "") for message in follow)
    assert sum(message["role"] == "tool" for message in messages) == sum(
        len(messages[place]["tool_calls"]) for place in places
    )


@given(st.lists(loose, max_size=14).map(make_valid))
def test_no_text_and_no_call_is_lost_and_each_kind_keeps_its_order(items: list[Item]) -> None:
    messages = to_messages("", items)
    for role in ("user", "assistant"):
        spoken = [text_of(message) for message in messages if message["role"] == role]
        assert "".join(spoken) == "".join(text_of(item) for item in items if item.get("role") == role)
    called = [one["id"] for message in messages for one in message.get("tool_calls", ())]
    assert called == [item["call_id"] for item in items if item["type"] == "function_call"]


# JSON of any shape whose keys are those that are read, so that it goes deep.
KEYS = [
    "type",
    "role",
    "content",
    "text",
    "choices",
    "message",
    "delta",
    "finish_reason",
    "error",
    "code",
    "usage",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
    "index",
    "call_id",
    "output",
    "image_url",
    "refusal",
]
KINDS = [
    "message",
    "function_call",
    "function_call_output",
    "input_image",
    "input_file",
    "text",
    "assistant",
    "user",
]
keys, kinds = st.sampled_from(KEYS), st.sampled_from(KINDS)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | kinds | st.text(max_size=3)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)
objects = st.dictionaries(keys, anything, max_size=6)
choices = st.lists(st.fixed_dictionaries({}, optional={"message": objects, "delta": objects}), max_size=2)
answers = anything | choices.map(lambda given: {"choices": given})


def refused(work: Callable[[], list[Any]]) -> str | None:
    """The code with which the work is refused, None when it is done; nothing else may be raised."""
    try:
        assert all(isinstance(one, dict) for one in work())
    except ModelError as error:
        return error.code
    return None


@given(st.lists(objects, max_size=4))
def test_a_strange_history_is_sent_or_refused_with_a_reason(history: list[Item]) -> None:
    assert refused(lambda: to_messages("", history)) in (None, "unsupported_item")


@given(answers)
def test_a_strange_answer_is_read_or_refused_with_a_reason(answer: Json) -> None:
    code = refused(lambda: to_messages("", read_completion(answer).items))
    assert code is None or code.startswith("model_")


@given(st.lists(answers, max_size=4))
def test_a_strange_stream_is_read_or_refused_with_a_reason(chunks: list[Json]) -> None:
    def work() -> list[Any]:
        answer = StreamedCompletion()
        for one in [*chunks, chunk({}, "stop")]:
            assert all(delta.text for delta in answer.feed(one))
        return to_messages("", answer.response().items)

    code = refused(work)
    assert code is None or code.startswith("model_")


@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
