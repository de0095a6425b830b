"""A scripted model that speaks /v1/chat/completions, and /v1/responses too, on a real local HTTP server.

    async with ScriptedChat(calls(("order_status", {"order_id": "7"})), text("On its way.")) as model:
        client = AsyncOpenAI(base_url=model.base_url, api_key="x", max_retries=0)

The replies of `tests.fakes.replies` answer either API. `Completion` and `Chunks` are sent as they are, for
what only some servers say.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Answer, BrokenJson, Cut, Endless, ErrorEvent, Hang, HttpError, Reply
from turnkeeper.practice import transport, wire
from turnkeeper_storage.items import Json

Object: TypeAlias = dict[str, Json]
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole completion, as it is."""

    body: Object


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a stream. `done`: whether `[DONE]` follows. `stays_open`: no end before the release."""

    chunks: Sequence[Object]
    done: bool = True
    stays_open: bool = False


ChatReply: TypeAlias = Reply | Completion | Chunks


class ScriptedChat(ScriptedModel):
    """A `ScriptedModel` with one more route. `knows_usage=False`: `stream_options` are ignored."""

    def __init__(self, *script: Reply, knows_usage: bool = True, latency: float = 0.0) -> None:
        super().__init__(*script, latency=latency)
        self._knows_usage = knows_usage
        self._own: list[Completion | Chunks] = []
        self.app.add_routes([web.post("/v1/chat/completions", self._completions)])

    @property
    def messages(self) -> list[Json]:
        """The `messages` of each request."""
        return [request["messages"] for request in self.requests]

    def script_raw(self, *more: Completion | Chunks) -> None:
        """Answer the next requests of the chat API with these, before what is in the script."""
        self._own.extend(more)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        released = self._gate.next_opening()
        raw = self._own.pop(0) if self._own else None
        if raw is not None:
            self._script.appendleft(replies.text("not sent: a raw reply is"))
        reply: ChatReply = self._arrived(request, {"input": [], **body})
        self.requests[-1] = body
        try:
            await self._gate.wait()
            if self._latency:
                await asyncio.sleep(self._latency)
            if isinstance(reply, Hang):
                await released.wait()
                reply = reply.then
            return await self._send(request, body, raw or reply)
        finally:
            self.in_flight -= 1
            self._tell()

    async def _send(self, request: web.Request, body: Object, reply: ChatReply) -> web.StreamResponse:
        stream = body.get("stream") is True
        match reply:
            case Completion():
                return web.json_response(reply.body)
            case Chunks():
                return await self._send_chunks(request, reply)
            case Answer(status="failed"):
                return await self._send_fault(request, reply.error or {}, stream=stream)
            case Answer() if stream:
                return await self._send_chunks(request, Chunks(self._chunks(body, reply)))
            case Answer():
                return web.json_response(completion(body, reply))
            case Cut() if stream:
                return await self._send_cut(request, body, reply)
            case Cut():
                full = completion(body, reply.answer)
                return await transport.send_cut(request, full, stream=False)
            case HttpError(body=None):
                error = wire.error_body(reply.status, reply.message, code=reply.code)
                return web.json_response(error, status=reply.status, headers=reply.headers)
            case HttpError():
                return web.Response(status=reply.status, text=reply.body, headers=reply.headers)
            case BrokenJson():
                text = (
                    'data: {"id": "chatcmpl_1", "choi\n\n' if stream else '{"id": "chatcmpl_1", "choices": ['
                )
                return web.Response(
                    text=text, content_type="text/event-stream" if stream else "application/json"
                )
            case ErrorEvent():
                fault = {"code": reply.code, "message": reply.message}
                return await self._send_fault(request, fault, stream=stream)
            case Hang() | Endless():
                raise AssertionError("this server ends every answer, and none hangs twice")

    async def _send_fault(
        self, request: web.Request, fault: Mapping[str, str], *, stream: bool
    ) -> web.StreamResponse:
        # status 200 with an error in it, as proxies do
        if not stream:
            return web.json_response({"error": dict(fault)})
        return await self._send_chunks(request, Chunks([chunk({"content": ""}), {"error": dict(fault)}]))

    async def _send_cut(self, request: web.Request, body: Object, reply: Cut) -> web.StreamResponse:
        chunks = [one for one in self._chunks(body, reply.answer) if not finish_reason(one)]
        chunks = [one for one in chunks if one["choices"]]
        opened = await transport.open_stream(request)
        for one in chunks[: len(chunks) // 2 + 1 if reply.after is None else reply.after]:
            await opened.write(event(one))
        if reply.how == "reset":
            transport.drop(request)
        else:
            await opened.write_eof()
        return opened

    async def _send_chunks(self, request: web.Request, reply: Chunks) -> web.StreamResponse:
        opened = await transport.open_stream(request)
        for one in reply.chunks:
            await opened.write(event(one))
        if reply.stays_open:
            await self._gate.next_opening().wait()
        if reply.done:
            await opened.write(b"data: [DONE]\n\n")
        await opened.write_eof()
        return opened

    def _chunks(self, body: Object, answer: Answer) -> list[Object]:
        wanted = (body.get("stream_options") or {}).get("include_usage") is True
        full = completion(body, answer)
        found = [chunk(delta) for delta in deltas(full["choices"][0]["message"])]
        found.append(chunk({}, full["choices"][0]["finish_reason"]))
        if wanted and self._knows_usage:
            found.append({"id": full["id"], "choices": [], "usage": full["usage"]})
        return found


def completion(body: Object, answer: Answer) -> Object:
    """The completion that says what the answer's items say; reasoning has no place in it."""
    texts = [part for item in answer.items for part in item.get("content") or ()]
    content = "".join(part["text"] for part in texts if part["type"] == "output_text")
    refusal = "".join(part["refusal"] for part in texts if part["type"] == "refusal")
    called = [item for item in answer.items if item["type"] == "function_call"]
    message: Object = {"role": "assistant", "content": content or None, "refusal": refusal or None}
    if called:
        message["tool_calls"] = [tool_call(item) for item in called]
    reason = _REASONS.get(answer.reason or "", "tool_calls" if called else "stop")
    counted = wire.usage({"input": body.get("messages"), "tools": body.get("tools")}, answer.items)
    usage = {
        "prompt_tokens": counted["input_tokens"],
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens": counted["output_tokens"],
        "completion_tokens_details": {
            "reasoning_tokens": counted["output_tokens_details"]["reasoning_tokens"]
        },
        "total_tokens": counted["total_tokens"],
    }
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {
        "id": wire.new_id("chatcmpl"),
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage,
    }


def tool_call(item: Object) -> Object:
    """A function call in chat form."""
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def deltas(message: Object) -> list[Object]:
    """The message in pieces as OpenAI cuts it: ids and names come once, arguments bit by bit."""
    found: list[Object] = [{"role": "assistant", "content": ""}]
    for name in ("content", "refusal"):
        found += [{name: piece} for piece in pieces(message[name] or "")]
    for index, call in enumerate(message.get("tool_calls") or ()):
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        found.append({"tool_calls": [{"index": index, **begun}]})
        for piece in pieces(call["function"]["arguments"]):
            found.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return found


def chunk(delta: Object, reason: str | None = None) -> Object:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {
        "id": "chatcmpl_1",
        "object": "chat.completion.chunk",
        "choices": [choice],
        "usage": None,
    }


def pieces(text: str) -> list[str]:
    """A text cut before each word; their sum is the text."""
    return re.findall(r"\s*\S+\s*\Z|\s*\S+|\s+\Z", text)


def finish_reason(one: Object) -> Json:
    """Why a chunk says that the answer is over, None when it does not."""
    return one["choices"][0]["finish_reason"] if one["choices"] else None


def event(one: Object) -> bytes:
    """A chunk as a server-sent event."""
    return f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode()
