"""The tests' scripted model, with the real client."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, DefaultAioHttpClient
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseStreamEvent

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.wait import eventually, eventually_sync


def client_of(model: ScriptedModel) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=model.base_url, api_key="x", max_retries=0, timeout=10)


async def ask(client: AsyncOpenAI, text: str = "hello", **metadata: str) -> Response:
    return await client.responses.create(model="m", input=text, metadata=metadata)


async def events_of(client: AsyncOpenAI, text: str = "hello") -> list[ResponseStreamEvent]:
    async with await client.responses.create(model="m", input=text, stream=True) as stream:
        return [event async for event in stream]


async def test_replies_come_in_the_order_of_the_script() -> None:
    script = (replies.calls(("order_status", {"order_id": "7"}, "c1")), replies.text("done", reasoning="hm"))
    async with ScriptedModel(*script) as model, client_of(model) as client:
        (call,) = (await ask(client)).output
        assert isinstance(call, ResponseFunctionToolCall)
        assert (call.call_id, json.loads(call.arguments)) == ("c1", {"order_id": "7"})
        second = await ask(client, "and now?")
        assert [item.type for item in second.output] == ["reasoning", "message"]
        assert model.inputs == ["hello", "and now?"]
        assert model.headers[0]["authorization"] == "Bearer x"


async def test_the_same_reply_works_as_a_stream() -> None:
    async with ScriptedModel(replies.text("done")) as model, client_of(model) as client:
        last = (await events_of(client))[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == "done"


async def test_arguments_given_as_text_arrive_exactly_so() -> None:
    async with ScriptedModel(replies.calls(("f", "{broken"))) as model, client_of(model) as client:
        (call,) = (await ask(client)).output
        assert isinstance(call, ResponseFunctionToolCall)
        assert call.arguments == "{broken"


async def test_a_function_may_answer_by_what_is_asked() -> None:
    async with ScriptedModel(answer=echo) as model, client_of(model) as client:
        assert (await ask(client, "one")).output_text == "echo: one"
        model.script(replies.text("two"))
        assert (await ask(client, "one")).output_text == "two"


async def leave_after_a_refused_request(model: ScriptedModel) -> None:
    async with model, client_of(model) as client:
        with pytest.raises(openai.InternalServerError, match="at its end"):
            await ask(client)
        assert [body["input"] for body in model.unexpected] == ["hello"]


async def test_a_request_beyond_the_script_fails_the_block() -> None:
    with pytest.raises(AssertionError, match="1 of 1 requests were not in the script"):
        await leave_after_a_refused_request(ScriptedModel())


async def test_an_error_in_the_scripts_function_fails_the_block() -> None:
    def refuse(body: dict[str, object]) -> replies.Reply:
        raise ValueError("not what was expected")

    with pytest.raises(AssertionError) as caught:
        await leave_after_a_refused_request(ScriptedModel(answer=refuse))
    assert isinstance(caught.value.__cause__, ValueError)


async def test_an_error_carries_its_headers() -> None:
    script = replies.error(429, retry_after_ms=70, headers={"x-request-id": "r1"}, code="slow_down")
    async with ScriptedModel(script) as model, client_of(model) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client)
        assert caught.value.response.headers["retry-after-ms"] == "70"
        assert (caught.value.request_id, caught.value.code) == ("r1", "slow_down")


async def test_an_error_may_have_a_body_that_is_no_json() -> None:
    script = replies.error(502, body="<html>bad gateway</html>")
    async with ScriptedModel(script) as model, client_of(model) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(client)
        assert caught.value.status_code == 502


async def test_a_cut_stream_ends_without_a_terminal_event() -> None:
    async with ScriptedModel(replies.cut(), replies.cut(after=1)) as model, client_of(model) as client:
        types = [event.type for event in await events_of(client)]
        assert "response.output_text.delta" in types
        assert "response.completed" not in types
        assert [event.type for event in await events_of(client)] == ["response.created"]


async def test_a_reset_stream_is_an_error_after_its_first_events() -> None:
    async with ScriptedModel(replies.cut(how="reset")) as model, client_of(model) as client:
        stream = await client.responses.create(model="m", input="hello", stream=True)
        assert (await anext(aiter(stream))).type == "response.created"
        with pytest.raises(openai.APIConnectionError):
            [event async for event in stream]


async def test_a_cut_answer_that_is_not_streamed_is_a_connection_error() -> None:
    async with ScriptedModel(replies.cut()) as model, client_of(model) as client:
        with pytest.raises(openai.APIConnectionError):
            await ask(client)


@pytest.mark.parametrize("stream", [False, True])
async def test_broken_json_cannot_be_parsed(stream: bool) -> None:
    async with ScriptedModel(replies.broken_json()) as model, client_of(model) as client:
        with pytest.raises(json.JSONDecodeError):
            await (events_of(client) if stream else ask(client))


async def test_a_failed_response_says_why() -> None:
    async with (
        ScriptedModel(*[replies.failed("rate_limit_exceeded", "slowly")] * 2) as model,
        client_of(model) as client,
    ):
        answer = await ask(client)
        assert answer.error is not None
        assert (answer.status, answer.error.code) == ("failed", "rate_limit_exceeded")
        assert (await events_of(client))[-1].type == "response.failed"


async def test_an_incomplete_response_says_why() -> None:
    async with (
        ScriptedModel(*[replies.incomplete("content_filter")] * 2) as model,
        client_of(model) as client,
    ):
        answer = await ask(client)
        assert answer.incomplete_details is not None
        assert answer.incomplete_details.reason == "content_filter"
        assert (await events_of(client))[-1].type == "response.incomplete"


async def test_an_error_event_ends_the_stream_and_is_a_500_otherwise() -> None:
    async with (
        ScriptedModel(*[replies.error_event("server_error", "oh")] * 2) as model,
        client_of(model) as client,
    ):
        last = (await events_of(client))[-1]
        assert last.type == "error"
        assert last.message == "oh"
        with pytest.raises(openai.InternalServerError):
            await ask(client)


async def test_a_hanging_reply_waits_for_its_release() -> None:
    async with ScriptedModel(replies.hang(replies.text("at last"))) as model, client_of(model) as client:
        call = asyncio.ensure_future(ask(client))
        await model.wait_for(1)
        assert not call.done()
        model.release()
        assert (await call).output_text == "at last"


async def test_held_requests_are_recorded_and_wait() -> None:
    async with ScriptedModel(answer=echo) as model, client_of(model) as client:
        model.hold()
        calls = [asyncio.ensure_future(ask(client, str(number))) for number in range(3)]
        await model.wait_for(3)
        assert model.in_flight == 3
        assert not any(call.done() for call in calls)
        model.release()
        assert {(await call).output_text for call in calls} == {"echo: 0", "echo: 1", "echo: 2"}
        assert (await ask(client, "later")).output_text == "echo: later"


async def test_requests_are_held_until_enough_are_in_flight() -> None:
    async with ScriptedModel(answer=echo) as model, client_of(model) as client:
        model.hold_until(3)
        calls = [asyncio.ensure_future(ask(client)) for _ in range(2)]
        await model.wait_for(2)
        assert not any(call.done() for call in calls)
        await ask(client)
        await asyncio.gather(*calls)
        assert model.peak_in_flight == 3


async def test_a_caller_that_leaves_is_no_longer_in_flight() -> None:
    async with ScriptedModel(replies.hang()) as model, client_of(model) as client:
        call = asyncio.ensure_future(ask(client))
        await model.wait_for_in_flight(1)
        call.cancel()
        await model.wait_for_in_flight(0)


async def test_waiting_for_requests_has_a_limit() -> None:
    async with ScriptedModel() as model:
        with pytest.raises(AssertionError, match="for 1 requests: 0 requests came"):
            await model.wait_for(1, within=0.05)


async def test_a_thousand_requests_are_in_flight_at_once() -> None:
    # all of them connect at once: on a busy machine the last one waits for longer than a client's usual limit
    patient = openai.Timeout(120, connect=120)
    async with ScriptedModel(answer=echo) as model, DefaultAioHttpClient(timeout=patient) as transport:
        model.hold_until(1000)
        client = AsyncOpenAI(base_url=model.base_url, api_key="x", max_retries=0, http_client=transport)
        body = {"model": "m", "input": "hello"}
        posts = (client.post("/responses", body=body, cast_to=object) for _ in range(1000))
        await asyncio.gather(*posts)
        assert model.peak_in_flight == 1000


def test_as_a_process_it_echoes_and_logs(processes: Processes) -> None:
    process = processes(sys.executable, "-m", "tests.fakes.model_server", "--hold-until", "2")
    base_url = process.wait_for_log("/v1\n").strip()

    async def talk() -> dict[str, object]:
        async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
            both = await asyncio.gather(*(ask(client, "hi", run_id=run, turn="1") for run in ("a", "b")))
            assert [answer.output_text for answer in both] == ["echo: hi", "echo: hi"]
        async with aiohttp.ClientSession() as session, session.get(base_url.replace("/v1", "/log")) as got:
            return dict(await got.json())

    log = asyncio.run(talk())
    assert log["peak_in_flight"] == 2
    assert isinstance(log["requests"], list)
    assert sorted(record["run_id"] for record in log["requests"]) == ["a", "b"]
    assert log["requests"][0].keys() == {"run_id", "turn", "inputs", "arrived_at"}
    process.terminate()
    assert process.wait(10) == 0


async def test_eventually_returns_the_first_true_value() -> None:
    values = iter(["", None, "yes"])

    async def check() -> str | None:
        return next(values)

    assert await eventually(check, every=0) == "yes"
    assert eventually_sync(lambda: 7) == 7


async def test_eventually_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"lambda.* was not true within 0\.01 s; its last value: \[\]"):
        await eventually(lambda: [], within=0.01, every=0)
    with pytest.raises(AssertionError, match="its last value: None"):
        eventually_sync(lambda: None, within=0.01, every=0.001)
