"""The Responses client against a real local server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel
from turnkeeper.practice import wire
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker.models.base import Delta, ModelError, ModelRequest, ModelSettings
from turnkeeper_worker.models.client import make_client, make_model
from turnkeeper_worker.models.direct import DirectPost
from turnkeeper_worker.models.responses import ResponsesModel

SECRET = "hunter2-swordfish"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedModel) -> AsyncIterator[ResponsesModel]:
    client = make_client(load_settings(openai_api_key="sk-test-key", openai_base_url=server.base_url))
    responses = ResponsesModel(client)
    yield responses
    await responses.aclose()


def asking(content: str = "hello", **fields: object) -> ModelRequest:
    given = {"timeout": 10.0} | fields
    return ModelRequest("m-1", "Be kind.", [{"role": "user", "content": content}], **given)  # type: ignore[arg-type]


async def failing(model: ResponsesModel, request: ModelRequest, *, streamed: bool = False) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.respond(request, (lambda _: None) if streamed else None)
    return caught.value


async def test_the_body_is_posted_as_it_was_given(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.text("hi"))
    tool = {"type": "function", "name": "t", "description": "", "parameters": {}, "strict": True}
    await model.respond(
        asking(
            tools=[tool],
            settings=ModelSettings(temperature=0.5, tool_choice="t", store=False, extra={"user": "u"}),
            metadata={"run_id": "run_1", "turn": "2"},
            idempotency_key="run_1:2",
        )
    )
    assert server.requests == [
        {
            "model": "m-1",
            "instructions": "Be kind.",
            "input": [{"role": "user", "content": "hello"}],
            "tools": [tool],
            "temperature": 0.5,
            "tool_choice": {"type": "function", "name": "t"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "user": "u",
            "metadata": {"run_id": "run_1", "turn": "2"},
        }
    ]
    assert server.headers[0]["idempotency-key"] == "run_1:2"
    assert server.headers[0]["authorization"] == "Bearer sk-test-key"


async def test_a_tool_choice_without_tools_is_not_sent(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.text("hi"))
    await model.respond(asking(settings=ModelSettings(tool_choice="auto", parallel_tool_calls=True)))
    assert not server.requests[0].keys() & {"tools", "tool_choice", "parallel_tool_calls"}


async def test_items_come_back_clean_and_otherwise_unharmed(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    thought = {**wire.reasoning("because", encrypted_content="xyz"), "status": "completed"}
    said = {**wire.message("hi"), "phase": "final_answer", "created_by": "x"}
    unknown = {"type": "brand_new", "payload": {"a": [1, None]}, "id": None}
    server.script(replies.items(thought, said, unknown))
    response = await model.respond(asking())
    assert response.id is not None
    assert response.items == [
        {name: value for name, value in thought.items() if name != "status"},
        {name: value for name, value in said.items() if name != "created_by"},
        {"type": "brand_new", "payload": {"a": [1, None]}},
    ]
    assert response.usage.requests == 1
    assert response.usage.input_tokens > 0
    assert response.usage.reasoning_tokens > 0


async def test_a_streamed_answer_gives_deltas_and_the_same_items(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    server.script(replies.calls(("look", {"id": 7}, "call_9"), message="one moment", reasoning="hm"))
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    response = await model.respond(asking(), keep)
    texts = {kind: "".join(d.text for d in deltas if d.kind == kind) for kind in ("text", "reasoning")}
    assert texts == {"text": "one moment", "reasoning": "hm"}
    arguments = [delta for delta in deltas if delta.kind == "arguments"]
    assert "".join(delta.text for delta in arguments) == '{"id": 7}'
    assert {(delta.call_id, delta.output_index) for delta in arguments} == {("call_9", 2)}
    assert [item["type"] for item in response.items] == ["reasoning", "message", "function_call"]
    assert server.requests[0]["stream"] is True


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_cut_stream_is_an_interrupted_turn(
    server: ScriptedModel, model: ResponsesModel, how: str
) -> None:
    server.script(replies.cut(replies.text("one two three four"), how="reset" if how == "reset" else "eof"))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.retryable, error.started) == ("stream_cut", True, True)


async def test_a_stream_cut_before_its_first_delta_has_not_started(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    server.script(replies.cut(after=1))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.started) == ("stream_cut", False)


@pytest.mark.parametrize(
    ("reply", "code", "retryable"),
    [
        (replies.error(401, message=f"bad key {SECRET}"), "model_auth", False),
        (replies.error(403), "model_auth", False),
        (replies.error(404), "model_not_found", False),
        (replies.error(400, message=f"what is {SECRET}"), "model_bad_request", False),
        (replies.error(408), "model_timeout", True),
        (replies.error(409), "model_http_error", True),
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
async def test_each_failure_has_its_code(
    server: ScriptedModel,
    model: ResponsesModel,
    reply: replies.Reply,
    code: str,
    retryable: bool,
    streamed: bool,
) -> None:
    server.script(reply)
    error = await failing(model, asking(SECRET), streamed=streamed)
    assert (error.code, error.retryable) == (code, retryable)
    assert "hunter2" not in str(error)
    assert "swordfish" not in str(error)
    assert error.__cause__ is None
    assert len(server.requests) == 1, "the client must not retry by itself"


async def test_a_flat_error_event_is_a_failure(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.error_event("server_error", SECRET))
    error = await failing(model, asking(), streamed=True)
    assert (error.code, error.retryable) == ("model_failed", True)
    assert SECRET not in str(error)


async def test_a_refusal_keeps_the_words_that_are_not_content(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    server.script(replies.error(400, message="tools need --jinja, not hunter2"))
    error = await failing(model, asking(SECRET))
    assert "tools need --jinja, not …" in error.message


async def test_a_missing_model_is_named_with_the_remedy(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.error(404))
    error = await failing(model, asking())
    assert "'m-1'" in error.message
    assert "OPENAI_BASE_URL" in error.message


async def test_a_retry_after_is_read_in_milliseconds(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.error(429, retry_after_ms=250))
    error = await failing(model, asking())
    assert error.retry_after == 0.25


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_ends_at_its_time_out(
    server: ScriptedModel, model: ResponsesModel, streamed: bool
) -> None:
    server.script(replies.hang())
    error = await failing(model, asking(timeout=0.05), streamed=streamed)
    assert (error.code, error.retryable) == ("model_timeout", True)
    await server.wait_for_in_flight(0)


async def test_a_cancelled_call_leaves_nothing_in_flight(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    server.script(replies.hang())
    task = asyncio.create_task(model.respond(asking()))
    await server.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for_in_flight(0)


async def test_an_unreachable_server_is_worth_another_try() -> None:
    async with ScriptedModel() as gone:
        base_url = gone.base_url
    model = ResponsesModel(make_client(load_settings(openai_api_key="k", openai_base_url=base_url)))
    error = await failing(model, asking())
    await model.aclose()
    assert (error.code, error.retryable) == ("model_unreachable", True)


async def test_a_fault_of_the_delta_reader_is_its_own(server: ScriptedModel, model: ResponsesModel) -> None:
    server.script(replies.text("hi"))

    def refuse(_: Delta) -> None:
        raise TimeoutError("the reader's")

    with pytest.raises(TimeoutError, match="the reader's"):
        await model.respond(asking(), refuse)


async def test_without_a_key_each_call_fails_and_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY.*OPENAI_BASE_URL"):
        make_client(load_settings())
    model = make_model(load_settings())
    with pytest.raises(ModelError) as caught:
        await model.respond(asking())
    await model.aclose()
    assert (caught.value.code, caught.value.retryable) == ("model_key_missing", False)


async def test_a_server_of_ones_own_needs_no_key(
    server: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server.script(replies.text("hi"))
    model = make_model(load_settings(openai_base_url=server.base_url))
    response = await model.respond(asking())
    await model.aclose()
    assert response.items[0]["content"][0]["text"] == "hi"


async def test_an_input_of_megabytes_is_posted_as_it_was_given(
    server: ScriptedModel, model: ResponsesModel
) -> None:
    long = "ä" * 3_000_000
    server.script(replies.text("hi"))
    await model.respond(asking(long))
    assert server.requests[0]["input"] == [{"role": "user", "content": long}]


async def test_a_client_of_another_class_posts_in_its_own_way(server: ScriptedModel) -> None:
    class Signing(AsyncOpenAI):
        """One that adds to each request."""

    client = Signing(api_key="k", base_url=server.base_url, default_query={"api-version": "1"}, max_retries=0)
    responses = ResponsesModel(client)
    server.script(replies.text("hi"))
    answer = await responses.respond(asking())
    await responses.aclose()
    assert [item["type"] for item in answer.items] == ["message"]
    assert not DirectPost.fits(client)
    assert not DirectPost.fits(AsyncOpenAI(api_key="k", base_url=server.base_url, default_query={"a": "b"}))
    assert DirectPost.fits(AsyncOpenAI(api_key="k", base_url=server.base_url))
    assert DirectPost.fits(make_client(load_settings(openai_base_url=server.base_url)))


async def test_a_client_with_a_transport_of_its_own_posts_through_it(server: ScriptedModel) -> None:
    """It may lead through a proxy, or trust somebody else."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(request.url.path)

    transport = DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    client = AsyncOpenAI(api_key="k", base_url=server.base_url, http_client=transport, max_retries=0)
    responses = ResponsesModel(client)
    server.script(replies.text("hi"))
    await responses.respond(asking())
    await responses.aclose()
    await client.close()
    assert seen == ["/v1/responses"]
