"""The chat-completions client against a real local server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes import replies
from tests.fakes.chat_server import Chunks, Completion, ScriptedChat, chunk
from turnkeeper.practice import wire
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker.models.base import Delta, ModelError, ModelRequest, ModelSettings
from turnkeeper_worker.models.chat_completions import ChatCompletionsModel
from turnkeeper_worker.models.client import make_client, make_model
from turnkeeper_worker.models.responses import ResponsesModel

SECRET = "hunter2-swordfish"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedChat]:
    async with ScriptedChat() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedChat) -> AsyncIterator[ChatCompletionsModel]:
    client = make_client(load_settings(openai_api_key="sk-test-key", openai_base_url=server.base_url))
    chat = ChatCompletionsModel(client)
    yield chat
    await chat.aclose()


def asking(content: str = "hello", **fields: object) -> ModelRequest:
    given = {"timeout": 10.0} | fields
    return ModelRequest("m-1", "Be kind.", [{"role": "user", "content": content}], **given)  # type: ignore[arg-type]


def ignore(_: Delta) -> None:
    """A reader of deltas that wants none."""


async def failing(
    model: ChatCompletionsModel, request: ModelRequest, *, streamed: bool = False
) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.respond(request, ignore if streamed else None)
    return caught.value


async def test_a_request_has_the_chat_form(server: ScriptedChat, model: ChatCompletionsModel) -> None:
    server.script(replies.text("hi"))
    tool = {"type": "function", "name": "t", "description": "", "parameters": {}, "strict": True}
    await model.respond(
        asking(
            tools=[tool],
            settings=ModelSettings(temperature=0.5, extra={"user": "u"}),
            metadata={"run_id": "run_1", "turn": "2"},
            idempotency_key="run_1:2",
        )
    )
    assert server.requests == [
        {
            "model": "m-1",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "hello"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "t", "description": "", "parameters": {}, "strict": True},
                }
            ],
            "temperature": 0.5,
            "user": "u",
        }
    ]
    assert server.headers[0]["idempotency-key"] == "run_1:2"
    assert server.headers[0]["authorization"] == "Bearer sk-test-key"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_is_the_same_streamed_and_not(
    server: ScriptedChat, model: ChatCompletionsModel, streamed: bool
) -> None:
    look, find = ("look", {"id": 7}, "call_9"), ("find", '{"x": "a b"}', "call_8")
    server.script(replies.calls(look, find, message="one moment", reasoning="hm hm"))
    response = await model.respond(asking(), ignore if streamed else None)
    said, *called = response.items
    assert said["content"] == [{"type": "output_text", "text": "one moment", "annotations": []}]
    assert [(one["call_id"], one["name"], one["arguments"]) for one in called] == [
        ("call_9", "look", '{"id": 7}'),
        ("call_8", "find", '{"x": "a b"}'),
    ]
    assert response.id is not None
    assert response.usage.requests == 1
    assert response.usage.input_tokens > 0
    assert response.usage.cached_tokens == 1
    assert response.usage.output_tokens > response.usage.reasoning_tokens > 0


async def test_deltas_come_in_their_order(server: ScriptedChat, model: ChatCompletionsModel) -> None:
    server.script(replies.calls(("look", '{"id": 7}', "call_9"), message="one moment"))
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    await model.respond(asking(), keep)
    assert deltas == [
        Delta("text", "one"),
        Delta("text", " moment"),
        Delta("arguments", '{"id":', None, "call_9", 1),
        Delta("arguments", " 7}", None, "call_9", 1),
    ]
    assert server.requests[0]["stream"] is True
    assert server.requests[0]["stream_options"] == {"include_usage": True}


async def test_a_server_that_ignores_the_wish_for_usage_counts_nothing() -> None:
    async with ScriptedChat(replies.text("hi"), knows_usage=False) as server:
        model = make_model(load_settings(openai_base_url=server.base_url, model_api="chat_completions"))
        response = await model.respond(asking(), ignore)
        await model.aclose()
    assert response.items[0]["content"][0]["text"] == "hi"
    assert (response.usage.requests, response.usage.total_tokens) == (1, 0)


async def test_a_stream_without_its_last_mark_is_whole_when_its_reason_came(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script_raw(Chunks([chunk({"content": "hi"}), chunk({}, "stop")], done=False))
    response = await model.respond(asking(), ignore)
    assert response.items[0]["content"][0]["text"] == "hi"


async def test_a_stream_that_is_never_closed_is_not_waited_for(
    server: ScriptedChat, model: ChatCompletionsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_worker.models.chat_completions.TAIL_TIMEOUT", 0.05)
    chunks = [chunk({"content": "hi"}, "stop"), {"choices": [], "usage": USAGE}]
    server.script_raw(Chunks(chunks, stays_open=True))
    response = await model.respond(asking(), ignore)
    assert response.items[0]["content"][0]["text"] == "hi"
    assert response.usage.total_tokens == 5
    await server.wait_for_in_flight(0)


@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_without_a_reason_is_cut_marked_as_done_or_not(
    server: ScriptedChat, model: ChatCompletionsModel, done: bool
) -> None:
    server.script_raw(Chunks([chunk({"content": "half"})], done=done))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.retryable, error.started) == ("stream_cut", True, True)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_cut_stream_is_an_interrupted_turn(
    server: ScriptedChat, model: ChatCompletionsModel, how: str
) -> None:
    server.script(replies.cut(replies.text("one two three four"), how="reset" if how == "reset" else "eof"))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.retryable, error.started) == ("stream_cut", True, True)


async def test_a_stream_cut_before_its_first_delta_has_not_started(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script(replies.cut(after=1))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.started) == ("stream_cut", False)


@pytest.mark.parametrize(
    ("reply", "code", "retryable"),
    [
        (replies.error(401, message=f"bad key {SECRET}"), "model_auth", False),
        (replies.error(404), "model_not_found", False),
        (replies.error(400, message=f"what is {SECRET}"), "model_bad_request", False),
        (replies.error(408), "model_timeout", True),
        (replies.error(413, body="<html>"), "model_input_too_large", False),
        (replies.error(429), "model_rate_limited", True),
        (replies.error(429, code="insufficient_quota"), "model_quota", False),
        (replies.error(500), "model_unavailable", True),
        (replies.error(503, headers={"x-should-retry": "false"}), "model_unavailable", False),
        (replies.failed("server_error"), "model_failed", True),
        (replies.failed("rate_limit_exceeded"), "model_rate_limited", True),
        (replies.failed("invalid_prompt", message=SECRET), "model_failed", False),
        (replies.incomplete("max_output_tokens"), "model_incomplete", False),
        (replies.incomplete("content_filter"), "model_incomplete", False),
        (replies.broken_json(), "model_broken_answer", True),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_each_failure_has_the_code_that_the_responses_api_gives_it(
    server: ScriptedChat,
    model: ChatCompletionsModel,
    reply: replies.Reply,
    code: str,
    retryable: bool,
    streamed: bool,
) -> None:
    server.script(reply, reply)
    error = await failing(model, asking(SECRET), streamed=streamed)
    assert (error.code, error.retryable) == (code, retryable)
    assert "hunter2" not in str(error)
    assert "swordfish" not in str(error)
    assert error.__cause__ is None
    assert len(server.requests) == 1, "the client must not retry by itself"
    responses = ResponsesModel(
        make_client(load_settings(openai_base_url=server.base_url, openai_api_key="k"))
    )
    with pytest.raises(ModelError) as other:
        await responses.respond(asking(SECRET), ignore if streamed else None)
    await responses.aclose()
    assert error.message == other.value.message


async def test_a_fault_with_a_number_in_the_stream_is_read(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script_raw(Chunks([chunk({"content": "half"}), {"error": {"code": 429, "message": SECRET}}]))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.retryable, error.started) == ("model_rate_limited", True, True)
    assert SECRET not in str(error)


async def test_a_retry_after_is_read_in_milliseconds(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script(replies.error(429, retry_after_ms=250))
    assert (await failing(model, asking())).retry_after == 0.25


async def test_an_item_without_a_chat_form_is_not_sent(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    request = ModelRequest("m-1", "", [{"type": "web_search_call", "id": "ws_1"}])
    assert (await failing(model, request)).code == "unsupported_item"
    assert server.requests == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_ends_at_its_time_out(
    server: ScriptedChat, model: ChatCompletionsModel, streamed: bool
) -> None:
    server.script(replies.hang())
    error = await failing(model, asking(timeout=0.05), streamed=streamed)
    assert (error.code, error.retryable) == ("model_timeout", True)
    await server.wait_for_in_flight(0)


async def test_the_time_out_is_for_the_whole_stream(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script_raw(Chunks([chunk({"content": "half"})], stays_open=True))
    error = await failing(model, asking(timeout=0.2), streamed=True)
    assert (error.code, error.retryable, error.started) == ("model_timeout", True, True)
    await server.wait_for_in_flight(0)


async def test_a_cancelled_call_leaves_nothing_in_flight(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script(replies.hang())
    task = asyncio.create_task(model.respond(asking(), ignore))
    await server.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for_in_flight(0)


async def test_a_fault_of_the_delta_reader_is_its_own(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    # in the tail of an answer too, where the server's own faults no longer matter
    server.script_raw(Chunks([chunk({}, "stop"), chunk({"content": "late"})]))

    def refuse(_: Delta) -> None:
        raise TimeoutError("the reader's")

    with pytest.raises(TimeoutError, match="the reader's"):
        await model.respond(asking(), refuse)


async def test_a_fault_after_the_end_does_not_undo_the_answer(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    server.script_raw(Chunks([chunk({"content": "hi"}, "stop"), {"error": {"code": 500}}]))
    response = await model.respond(asking(), ignore)
    assert response.items[0]["content"][0]["text"] == "hi"


async def test_the_answer_of_one_class_is_an_input_of_the_other(server: ScriptedChat) -> None:
    settings = load_settings(openai_api_key="k", openai_base_url=server.base_url)
    chat, responses = ChatCompletionsModel(make_client(settings)), ResponsesModel(make_client(settings))
    thought = wire.reasoning("hm", encrypted_content="xyz")
    server.script(
        replies.items(thought, wire.message("wait"), wire.function_call("look", "{}", "call_1")),
        replies.calls(("look", "{}", "call_2"), message="again"),
        replies.text("done"),
    )
    history = [{"role": "user", "content": "hello"}]
    for model, id in ((responses, "call_1"), (chat, "call_2")):
        answer = await model.respond(ModelRequest("m", "", history))
        history += [*answer.items, {"type": "function_call_output", "call_id": id, "output": "found"}]
    await responses.respond(ModelRequest("m", "", history))
    await chat.aclose()
    await responses.aclose()
    assert [message["role"] for message in server.requests[1]["messages"]] == ["user", "assistant", "tool"]
    assert server.requests[1]["messages"][1]["content"] == "wait"
    assert server.requests[2]["input"] == history


async def test_the_settings_say_which_api_is_spoken(
    server: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    by_default = make_model(load_settings())
    monkeypatch.setenv("TURNKEEPER_MODEL_API", "chat_completions")
    chosen = make_model(load_settings())
    await by_default.aclose()
    await chosen.aclose()
    assert isinstance(by_default, ResponsesModel)
    assert isinstance(chosen, ChatCompletionsModel)


def test_an_api_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_MODEL_API", "completions")
    with pytest.raises(ConfigurationError, match=r"TURNKEEPER_MODEL_API.*chat_completions"):
        load_settings()


async def test_a_whole_completion_of_another_server_is_read(
    server: ScriptedChat, model: ChatCompletionsModel
) -> None:
    # no id, no usage, no finish_reason, no `content`: what is left is a call
    call = {"function": {"name": "look", "arguments": {"id": 7}}}
    server.script_raw(Completion({"choices": [{"message": {"tool_calls": [call]}}]}))
    response = await model.respond(asking())
    assert response.id is None
    assert response.items[0]["arguments"] == '{"id":7}'
