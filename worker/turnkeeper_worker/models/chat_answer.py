"""A chat completion, whole or as a stream of chunks, read as an answer in items. Pure.

A completion is turned into the Responses object that says the same, so that both model classes read one form
and fail with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Item, Json, encode
from turnkeeper_worker.models.answer import broken, cut, failure, read_response
from turnkeeper_worker.models.base import Delta, ModelError, ModelResponse

# Why an answer stopped before its end, in the words of the Responses API.
_INCOMPLETE: Mapping[str, str] = {
    "content_filter": "content_filter",
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "model_length": "max_output_tokens",
}
# Servers and the proxies before them name the same faults in many ways.
_FAULTS: Mapping[str, str] = {
    "408": "server_error",
    "429": "rate_limit_exceeded",
    "api_error": "server_error",
    "internal_server_error": "server_error",
    "overloaded_error": "overloaded",
    "rate_limit_error": "rate_limit_exceeded",
}


@dataclass(slots=True)
class _Call:
    """A tool call as its pieces come in. `given_id` is the server's, `call_id` never empty."""

    call_id: str
    given_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Json]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.call_id, "type": "function", "function": function}


class StreamedCompletion:
    """The chunks of one streamed completion, fed in their order.

    `is_open` is the reader's note that the stream began; `has_started` says that a delta was given.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.has_started = False
        self._id: Json = None
        self._usage: Json = None
        self._reason: str | None = None
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the reason of the end came; a usage may follow."""
        return self._reason is not None

    def feed(self, chunk: Json) -> list[Delta]:
        """Take a chunk; the deltas in it. Raises ModelError for one that tells of a fault."""
        if not isinstance(chunk, dict):
            raise broken("a chunk is no JSON object")
        if chunk.get("error"):
            raise server_fault(chunk["error"])
        self._id = self._id or chunk.get("id")
        self._usage = chunk.get("usage") or self._usage
        choice = _first(chunk.get("choices"))
        deltas = self._read(_mapping(choice.get("delta")))
        if choice.get("error"):
            raise server_fault(choice["error"])
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._reason = reason
        self.has_started = self.has_started or bool(deltas)
        return deltas

    def response(self) -> ModelResponse:
        """The whole answer. Raises ModelError `stream_cut` when its end did not come."""
        if self._reason is None:
            raise cut()
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals),
            "tool_calls": [call.as_json() for call in self._calls],
        }
        choice = {"message": message, "finish_reason": self._reason}
        return read_completion({"id": self._id, "choices": [choice], "usage": self._usage})

    def _read(self, delta: Mapping[str, Json]) -> list[Delta]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        text, refusal = _text(delta.get("content")), _text(delta.get("refusal"))
        self._texts.append(text)
        self._refusals.append(refusal)
        deltas = [Delta("reasoning", thought)] if isinstance(thought, str) and thought else []
        deltas += [Delta("text", piece) for piece in (text, refusal) if piece]
        for given in _mappings(delta.get("tool_calls")):
            piece, place = self._call_piece(given)
            if piece:
                deltas.append(Delta("arguments", piece, None, self._calls[place].call_id, self._after(place)))
        return deltas

    def _call_piece(self, given: Mapping[str, Json]) -> tuple[str, int]:
        call = self._call_of(given)
        function = _mapping(given.get("function"))
        call.name = call.name or _text(function.get("name"))
        piece = _arguments(function.get("arguments"))
        call.arguments.append(piece)
        return piece, next(place for place, one in enumerate(self._calls) if one is call)

    def _call_of(self, given: Mapping[str, Json]) -> _Call:
        """The call that a piece belongs to. Indexes may be missing, or all 0 with whole calls."""
        index, id = given.get("index"), _text(given.get("id"))
        if isinstance(index, int):
            call = self._by_index.get(index)
        else:
            same = [call for call in self._calls if id and call.given_id == id]
            call = same[0] if same else None if id else next(iter(self._calls[-1:]), None)
        begins = id and call and id != call.given_id and _mapping(given.get("function")).get("name")
        if call is None or begins:
            call = _Call(id or call_id_at(len(self._calls)), id)
            self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _after(self, place: int) -> int:
        # The message, if there is one, stands before the calls.
        return place + (1 if any(self._texts) or any(self._refusals) else 0)


def read_completion(completion: Json) -> ModelResponse:
    """A completion as an answer. Raises ModelError when it failed, is incomplete or is no answer."""
    if not isinstance(completion, dict):
        raise broken("it is no JSON object")
    choice = _first(completion.get("choices"))
    fault = choice.get("error") or (completion.get("error") if not choice else None)
    if fault or choice.get("finish_reason") == "error":
        raise server_fault(fault)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise broken("it has no message")
    reason = _INCOMPLETE.get(str(choice.get("finish_reason")))
    return read_response(
        {
            "id": completion.get("id"),
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason},
            "output": message_items(message),
            "usage": _usage(completion.get("usage")),
        }
    )


def message_items(message: Mapping[str, Json]) -> list[Item]:
    """An assistant message of the chat API as items: its text first, then its calls.

    None has an id: servers of the Responses API refuse ids that they did not give.
    """
    parts: list[dict[str, Json]] = []
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    if text:
        parts.append({"type": "output_text", "text": text, "annotations": []})
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    said: list[Item] = [{"type": "message", "role": "assistant", "status": "completed", "content": parts}]
    calls = _mappings(message.get("tool_calls"))
    return [*(said if parts else []), *(_call_item(call, place) for place, call in enumerate(calls))]


def call_id_at(place: int) -> str:
    """What a call is named that a server gave no id; the run makes it unique."""
    return f"call_{place}"


def server_fault(error: Json) -> ModelError:
    """An error object in a completion or a chunk."""
    given = _mapping(error)
    code = given.get("code") or given.get("type")
    return failure({**given, "code": _FAULTS.get(str(code), code)})


def _call_item(call: Mapping[str, Json], place: int) -> Item:
    function = _mapping(call.get("function"))
    return {
        "type": "function_call",
        "status": "completed",
        "call_id": _text(call.get("id")) or call_id_at(place),
        "name": _text(function.get("name")),
        "arguments": _arguments(function.get("arguments")),
    }


def _arguments(value: Json) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    try:
        return encode(value)  # some servers give the object itself
    except InvalidInput:  # NaN, which Python's JSON reader lets through
        raise broken("the arguments of a call are no JSON") from None


def _usage(given: Json) -> dict[str, Json]:
    usage = _mapping(given)
    cached = _mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
    reasoning = _mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")
    return {
        "input_tokens": usage.get("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage.get("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }


def _text(value: Json) -> str:
    """A text, or that of the text parts of a list."""
    if isinstance(value, str):
        return value
    return "".join(_text(part.get("text")) for part in _mappings(value) if part.get("type") == "text")


def _first(choices: Json) -> Mapping[str, Json]:
    # More than one was never asked for; in a stream each chunk has one of them.
    for choice in _mappings(choices):
        if choice.get("index") in (None, 0):
            return choice
    return {}


def _mappings(value: Json) -> Sequence[Mapping[str, Json]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
