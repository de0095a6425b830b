"""Items as chat messages, and a request's other parts in chat form."""

from __future__ import annotations

import pytest

from turnkeeper_storage.items import Item, Json
from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelSettings
from turnkeeper_worker.models.chat_items import to_messages
from turnkeeper_worker.models.chat_request import request_body

USER = {"role": "user", "content": "hello"}


def said(text: str) -> Item:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def call(call_id: str) -> Item:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": "look",
        "arguments": f'{{"id": "{call_id}"}}',
    }


def output(call_id: str, value: Json = "found") -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def short(messages: list[dict[str, Json]]) -> list[Json]:
    """Each message as text, `role: content`, `[ids] content` of calls, `id= content` of an output."""
    return [_short(message) for message in messages]


def _short(message: dict[str, Json]) -> str:
    if message["role"] == "tool":
        return f"{message['tool_call_id']}= {message['content']}"
    if "tool_calls" in message:
        return f"[{' '.join(one['id'] for one in message['tool_calls'])}] {message['content']}"
    return f"{message['role']}: {message['content']}"


def body(settings: ModelSettings | None = None, *, stream: bool = False, **fields: Json) -> dict[str, Json]:
    request = ModelRequest("m-1", "", [USER], settings=settings or ModelSettings(), **fields)
    return request_body(request, stream=stream)


def test_instructions_are_the_first_system_message() -> None:
    assert short(to_messages("Be kind.", [USER])) == ["system: Be kind.", "user: hello"]


def test_a_developer_speaks_as_the_system() -> None:
    items = [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")]
    roles = [message["role"] for message in to_messages("", items)]
    assert roles == ["system", "system", "user", "assistant"]


def test_calls_of_one_turn_are_one_message_with_the_text_before_them() -> None:
    items = [USER, said("one moment"), call("a"), call("b"), output("a"), output("b"), said("done")]
    assert short(to_messages("", items)) == [
        "user: hello",
        "[a b] one moment",
        "a= found",
        "b= found",
        "assistant: done",
    ]


def test_a_call_without_text_has_no_content() -> None:
    assert to_messages("", [call("a"), output("a", "x")]) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"id": "a"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]


def test_a_turn_after_outputs_is_a_message_of_its_own() -> None:
    items = [call("a"), output("a"), call("b"), output("b")]
    assert short(to_messages("", items)) == ["[a] None", "a= found", "[b] None", "b= found"]


def test_outputs_follow_their_calls_directly_whatever_stands_between() -> None:
    items = [call("a"), call("b"), USER, output("b"), said("hm"), output("a")]
    assert short(to_messages("", items)) == [
        "[a b] None",
        "b= found",
        "a= found",
        "user: hello",
        "assistant: hm",
    ]


def test_an_output_answers_the_newest_call_of_its_id() -> None:
    items = [call("0"), output("0", "old"), USER, call("0"), output("0", "new")]
    assert short(to_messages("", items)) == ["[0] None", "0= old", "user: hello", "[0] None", "0= new"]


def test_text_between_and_behind_calls_stays_with_them() -> None:
    items = [said("first"), said("second"), call("a"), said("third"), call("b"), output("a"), output("b")]
    messages = to_messages("", items)
    assert messages[0] == {"role": "assistant", "content": "first"}
    assert [part["text"] for part in messages[1]["content"]] == ["second", "third"]
    assert [one["id"] for one in messages[1]["tool_calls"]] == ["a", "b"]


def test_reasoning_is_left_out_and_parts_no_group() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert short(to_messages("", [thought, said("hm"), thought, call("a"), output("a")])) == [
        "[a] hm",
        "a= found",
    ]


def test_an_assistant_message_with_nothing_in_it_is_left_out() -> None:
    items = [USER, {"role": "assistant", "content": ""}, said(""), {"role": "assistant", "content": []}, USER]
    assert short(to_messages("", items)) == ["user: hello", "user: hello"]


def test_a_refusal_goes_as_text() -> None:
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}
    assert short(to_messages("", [refused])) == ["assistant: I will not."]


def test_images_files_and_texts_of_a_message_are_its_parts() -> None:
    content = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_image", "image_url": "https://shop.example/a.png", "detail": None},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    assert to_messages("", [{"role": "user", "content": content}])[0]["content"] == [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://shop.example/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


def test_a_list_as_an_output_is_its_text() -> None:
    parts = [{"type": "input_text", "text": "one"}, {"type": "output_text", "text": "two"}]
    assert short(to_messages("", [call("a"), output("a", parts)]))[1] == "a= one\ntwo"


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"type": "web_search_call", "id": "ws_1"}, "item of type web_search_call"),
        ({"type": "custom_tool_call", "call_id": "a", "name": "n", "input": "x"}, "type custom_tool_call"),
        ({"type": "what is hunter2?"}, "item of type unknown"),
        ({"role": "critic", "content": "x"}, "message of role critic"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "part of type input_video"),
        ({"role": "user", "content": ["x"]}, "part of type unknown"),
        ({"role": "user", "content": 7}, "content is of type int"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "without an image_url"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}, "with a file_url"),
        (
            output("a", [{"type": "input_image", "image_url": "u"}]),
            "tool output with a part of type input_image",
        ),
    ],
)
def test_what_has_no_chat_form_is_named(item: Item, named: str) -> None:
    with pytest.raises(ModelError) as caught:
        to_messages("", [USER, item])
    assert (caught.value.code, caught.value.retryable) == ("unsupported_item", False)
    assert named in caught.value.message
    assert "hunter2" not in caught.value.message


def test_the_given_items_are_not_changed() -> None:
    items = [USER, said("x"), call("a"), output("a")]
    before = repr(items)
    to_messages("", items)
    assert repr(items) == before


def test_settings_have_their_chat_names() -> None:
    settings = ModelSettings(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=100,
        reasoning_effort="low",
        parallel_tool_calls=False,
        tool_choice="look",
        truncation="auto",
        extra={"seed": 7},
    )
    tool = {"type": "function", "name": "look", "description": "d", "parameters": {}, "strict": True}
    assert body(settings, tools=[tool]) == {
        "model": "m-1",
        "messages": [USER],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 100,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "seed": 7,
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "d", "parameters": {}, "strict": True},
            }
        ],
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("required", "required"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        ({"type": "of the server"}, {"type": "of the server"}),
    ],
)
def test_a_tool_choice_in_its_forms(choice: str | dict[str, Json], sent: Json) -> None:
    tools = [{"type": "function", "name": "look"}]
    assert body(ModelSettings(tool_choice=choice), tools=tools)["tool_choice"] == sent


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert not body(ModelSettings(tool_choice="auto", parallel_tool_calls=True)).keys() & {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    }


def test_the_older_name_of_the_token_limit_replaces_the_newer_one() -> None:
    sent = body(ModelSettings(max_output_tokens=100, extra={"max_tokens": 50}))
    assert sent["max_tokens"] == 50
    assert "max_completion_tokens" not in sent


def test_a_typed_answer_is_a_response_format() -> None:
    schema = {"type": "object", "properties": {}}
    typed = {"type": "json_schema", "name": "final_output", "schema": schema, "strict": True}
    assert body(text_format=typed)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "final_output", "schema": schema, "strict": True},
    }
    assert body(text_format={"type": "json_object"})["response_format"] == {"type": "json_object"}


def test_metadata_goes_only_to_a_server_that_stores() -> None:
    assert "metadata" not in body(metadata={"run_id": "r"})
    assert body(ModelSettings(store=True), metadata={"run_id": "r"})["metadata"] == {"run_id": "r"}


def test_a_stream_asks_for_its_usage_unless_told_otherwise() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    without = ModelSettings(extra={"stream_options": None})
    assert body(without, stream=True)["stream_options"] is None
    assert not body().keys() & {"stream", "stream_options"}


def test_extra_never_replaces_the_conversation() -> None:
    assert body(ModelSettings(extra={"messages": []}))["messages"] == [USER]
