"""The objects of OpenAI's Responses protocol: output items, the response, its stream. Pure.

Shapes are those of `POST /v1/responses` and of its server-sent events, as plain JSON.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from turnkeeper_storage.items import Item, Json

ResponseStatus = Literal["completed", "incomplete", "failed"]
TERMINAL_EVENTS = frozenset({"response.completed", "response.failed", "response.incomplete"})


def new_id(prefix: str) -> str:
    """A fresh id such as `resp_…`: ids of two answers to one request differ, as a real model's do."""
    return f"{prefix}_{secrets.token_hex(12)}"


def message(text: str) -> Item:
    """An assistant message with one text part."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": new_id("msg"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def function_call(name: str, arguments: str | Mapping[str, Json], call_id: str | None = None) -> Item:
    """A function call; `arguments` as JSON text (any text: also a broken one) or as an object."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": "completed",
        "call_id": call_id or new_id("call"),
        "name": name,
        "arguments": text,
    }


def reasoning(summary: str = "", *, encrypted_content: str | None = None) -> Item:
    """A reasoning item; an empty summary gives an empty list, as most real ones have."""
    parts = [{"type": "summary_text", "text": summary}] if summary else []
    item: Item = {"id": new_id("rs"), "type": "reasoning", "summary": parts}
    if encrypted_content is not None:
        item["encrypted_content"] = encrypted_content
    return item


def usage(request: Mapping[str, Json], output: Sequence[Item]) -> dict[str, Json]:
    """Usage that anyone can recount: one token per word of the JSON, the same each time."""
    given = _words([request.get("instructions"), request.get("input"), request.get("tools")])
    thought = _words([item for item in output if item.get("type") == "reasoning"])
    written = _words([_said(item) for item in output])
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written + thought,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": given + written + thought,
    }


def response(
    request: Mapping[str, Json],
    output: Sequence[Item],
    *,
    status: ResponseStatus = "completed",
    error: Mapping[str, str] | None = None,
    incomplete_reason: str | None = None,
) -> dict[str, Json]:
    """The response to `request` with these output items, as it is answered when not streamed.

    `error` is `{"code", "message"}` of a failed one, `incomplete_reason` e.g. `max_output_tokens`.
    """
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": dict(error) if error else None,
        "incomplete_details": {"reason": incomplete_reason} if incomplete_reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": str(request.get("model") or "practice"),
        "output": list(output),
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": list(request.get("tools") or []),
        "top_p": request.get("top_p", 1.0),
        "truncation": request.get("truncation") or "disabled",
        "usage": usage(request, output),
        "metadata": dict(request.get("metadata") or {}),
    }


def events(full: Mapping[str, Json]) -> list[dict[str, Json]]:
    """The events of a stream that ends with the response `full`, numbered from 0, the terminal one last."""
    begun = {**full, "status": "in_progress", "output": [], "usage": None, "error": None}
    found: list[dict[str, Json]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(full["output"]):
        found.extend(_item_events(item, index))
    found.append({"type": f"response.{full['status']}", "response": dict(full)})
    return [{**event, "sequence_number": number} for number, event in enumerate(found)]


def encode_event(event: Mapping[str, Json]) -> bytes:
    """One server-sent event."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def error_body(status: int, text: str, *, code: str | None = None) -> dict[str, Json]:
    """The body of an HTTP error, as OpenAI words it."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
    kind = "server_error" if status >= 500 else kind
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


def _item_events(item: Item, index: int) -> Iterator[dict[str, Json]]:
    empty, parts = _emptied(item)
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    if item["type"] == "function_call":
        yield from _argument_events(item, index)
    for number, part in enumerate(parts):
        kind = _SUMMARY if item["type"] == "reasoning" else _CONTENT
        yield from _part_events(kind, part, {"item_id": item["id"], "output_index": index}, number)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _emptied(item: Item) -> tuple[Item, list[dict[str, Json]]]:
    """An item as it is announced, before its text; and the parts that follow."""
    if item["type"] == "message":
        return {**item, "status": "in_progress", "content": []}, item["content"]
    if item["type"] == "function_call":
        return {**item, "status": "in_progress", "arguments": ""}, []
    if item["type"] == "reasoning":
        return {**item, "summary": []}, item["summary"]
    return dict(item), []


def _argument_events(item: Item, index: int) -> Iterator[dict[str, Json]]:
    place = {"item_id": item["id"], "output_index": index}
    for piece in _pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    yield {
        "type": "response.function_call_arguments.done",
        **place,
        "name": item["name"],
        "arguments": item["arguments"],
    }


# Events of a part: announced, its text, done; and the field that counts parts.
_CONTENT = ("response.content_part", "response.output_text", "content_index")
_SUMMARY = ("response.reasoning_summary_part", "response.reasoning_summary_text", "summary_index")


def _part_events(
    kind: tuple[str, str, str], part: dict[str, Json], item: dict[str, Json], number: int
) -> Iterator[dict[str, Json]]:
    part_event, text_event, counter = kind
    place = {**item, counter: number}
    # Only texts of an answer carry log probabilities, and the client's types ask for them.
    extra: dict[str, Json] = {"logprobs": []} if kind is _CONTENT else {}
    yield {"type": f"{part_event}.added", **place, "part": {**part, "text": ""}}
    for piece in _pieces(part["text"]):
        yield {"type": f"{text_event}.delta", **place, "delta": piece, **extra}
    yield {"type": f"{text_event}.done", **place, "text": part["text"], **extra}
    yield {"type": f"{part_event}.done", **place, "part": part}


def _pieces(text: str) -> list[str]:
    """A text cut before each word: the pieces of a stream, whose sum is the text."""
    return re.findall(r"\s*\S+\s*\Z|\s*\S+|\s+\Z", text)


def _said(item: Item) -> Json:
    if item.get("type") == "message":
        return [part.get("text") for part in item["content"]]
    return item.get("arguments")


def _words(value: Json) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, Mapping):
        return sum(_words(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_words(inner) for inner in value)
    return 0
