"""The practice model over HTTP, with the real client."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import FunctionToolParam, Response, ResponseFunctionToolCall, ResponseInputParam

from tests.fakes.wait import eventually
from turnkeeper.practice.server import PracticeServer

STATUS: FunctionToolParam = {
    "type": "function",
    "name": "order_status",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"order_id": {"type": "string"}},
        "required": ["order_id"],
    },
}


@pytest.fixture
async def server() -> AsyncIterator[PracticeServer]:
    async with PracticeServer() as started:
        yield started


@pytest.fixture
async def client(server: PracticeServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0, timeout=10) as opened:
        yield opened


async def streamed(client: AsyncOpenAI, text: str, **metadata: str) -> tuple[list[str], Response | None]:
    """The types of a stream's events, and the response of its terminal one."""
    types: list[str] = []
    final: Response | None = None
    async with await client.responses.create(
        model="practice", input=text, tools=[STATUS], stream=True, metadata=metadata
    ) as stream:
        async for event in stream:
            types.append(event.type)
            if event.type == "response.completed":
                final = event.response
    return types, final


async def test_a_message_is_answered(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="practice", input="hello there")
    assert answer.output_text.startswith("[practice model]")
    assert "hello there" in answer.output_text


async def test_a_message_is_answered_as_a_stream(client: AsyncOpenAI) -> None:
    types, final = await streamed(client, "hello there")
    assert final is not None
    assert "hello there" in final.output_text
    assert types[0] == "response.created"
    assert types.count("response.output_text.delta") > 3


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_are_made_and_their_outputs_quoted(client: AsyncOpenAI, stream: bool) -> None:
    first: Response | None
    if stream:
        _, first = await streamed(client, "orders 7 and 9")
    else:
        first = await client.responses.create(model="practice", input="orders 7 and 9", tools=[STATUS])
    assert first is not None
    calls = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [{"order_id": "7"}, {"order_id": "9"}]
    given: ResponseInputParam = [{"role": "user", "content": "orders 7 and 9"}]
    for call in calls:
        given.append(
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        )
    for number, call in enumerate(calls):
        given.append({"type": "function_call_output", "call_id": call.call_id, "output": f"{number} is sent"})
    second = await client.responses.create(model="practice", tools=[STATUS], input=given)
    assert 'order_status said "0 is sent", and order_status said "1 is sent"' in second.output_text


@pytest.mark.parametrize(
    ("status", "kind"), [(429, openai.RateLimitError), (500, openai.InternalServerError)]
)
async def test_an_error_is_answered_on_request(
    client: AsyncOpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    for _ in range(2):
        with pytest.raises(kind) as caught:
            await client.responses.create(model="practice", input=f"!error {status}")
        assert caught.value.status_code == status
    assert (caught.value.response.headers.get("retry-after-ms") is not None) == (status == 429)


async def test_an_error_once_is_answered_once_per_run(client: AsyncOpenAI) -> None:
    async def ask(run: str) -> Response:
        return await client.responses.create(
            model="practice", input="!error 500 once and go on", metadata={"run_id": run}
        )

    for run in ("a", "b"):
        with pytest.raises(openai.InternalServerError):
            await ask(run)
        assert "and go on" in (await ask(run)).output_text


async def test_a_cut_stream_has_no_terminal_event(client: AsyncOpenAI) -> None:
    types, final = await streamed(client, "!cut once hello")
    assert types[0] == "response.created"
    assert final is None
    assert (await streamed(client, "!cut once hello"))[1] is not None


async def test_a_cut_answer_that_is_not_streamed_is_a_connection_error(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        await client.responses.create(model="practice", input="!cut hello")


async def test_a_slow_answer_is_in_flight_until_its_caller_leaves(
    server: PracticeServer, client: AsyncOpenAI
) -> None:
    call = asyncio.ensure_future(client.responses.create(model="practice", input="!slow 60 hello"))
    await eventually(lambda: server.in_flight == 1)
    call.cancel()
    await eventually(lambda: server.in_flight == 0)
    assert server.max_in_flight == 1


async def test_the_latency_is_kept() -> None:
    async with (
        PracticeServer(latency=0.15) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client,
    ):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await client.responses.create(model="practice", input="hello")
        assert loop.time() - begun >= 0.14


async def test_a_required_key_is_required() -> None:
    async with PracticeServer(require_key="right") as server:
        async with AsyncOpenAI(base_url=server.base_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.responses.create(model="practice", input="hello")
        async with AsyncOpenAI(base_url=server.base_url, api_key="right", max_retries=0) as client:
            assert (await client.responses.create(model="practice", input="hello")).status == "completed"


async def test_the_log_shows_run_turn_and_input(server: PracticeServer, client: AsyncOpenAI) -> None:
    metadata = {"run_id": "run_1", "turn": "2"}
    await client.responses.create(model="practice", input="hello", metadata=metadata)
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/practice/log") as answer:
        log = await answer.json()
    assert (log["in_flight"], log["max_in_flight"]) == (0, 1)
    (record,) = log["requests"]
    assert (record["metadata"], record["input_items"]) == (metadata, 1)
    assert [dict(one.metadata) for one in server.requests] == [metadata]


async def test_models_and_health_answer(server: PracticeServer, client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["practice"]
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/health") as answer:
        assert await answer.json() == {"status": "ok"}


@pytest.mark.parametrize("body", ["no json", "[]", '{"input": 7}', "{}"])
async def test_a_body_that_is_no_request_is_refused(server: PracticeServer, body: str) -> None:
    url = f"{server.base_url}/responses"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"
    assert not server.requests


async def test_as_a_process_it_prints_its_url_and_stops_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turnkeeper.practice", "--latency", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        async with AsyncOpenAI(base_url=line.decode().strip(), api_key="any", max_retries=0) as client:
            assert (await client.responses.create(model="practice", input="hello")).status == "completed"
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_paced_stream_gives_its_first_piece_long_before_its_last() -> None:
    async with (
        PracticeServer(pace=0.05) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0, timeout=30) as client,
        await client.responses.create(model="practice", input="hello", stream=True) as stream,
    ):
        loop = asyncio.get_running_loop()
        came = [loop.time() async for event in stream if event.type == "response.output_text.delta"]
    assert len(came) > 3
    assert came[-1] - came[0] > 0.05 * (len(came) - 1) * 0.5
