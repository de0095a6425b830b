"""A Responses answer, whole or as a stream of events, read as plain dicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from turnkeeper_storage.input_items import clean
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import Usage
from turnkeeper_worker.models.base import Delta, ModelError, ModelResponse

_KINDS: Mapping[str, Literal["text", "arguments", "reasoning"]] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "arguments",
}
_TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete"})
# Servers say more than this; what is not known to pass by itself is not tried again.
_PASSING = frozenset(
    {"server_error", "rate_limit_exceeded", "vector_store_timeout", "overloaded", "service_unavailable"}
)


class StreamedAnswer:
    """The events of one streamed answer, fed in their order.

    `is_open` is the reader's note that the stream began; `has_started` says that a delta was given.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.has_started = False
        self._response: dict[str, Json] | None = None
        self._done: list[Item] = []
        self._call_ids: dict[str | int, str] = {}
        self._index = -1

    @property
    def is_complete(self) -> bool:
        """Whether the terminal event came."""
        return self._response is not None

    def feed(self, event: Json) -> Delta | None:
        """Take an event; the delta in it, if any. Raises ModelError for an `error` event."""
        if not isinstance(event, dict):
            raise broken("an event is no JSON object")
        kind = event.get("type")
        if isinstance(kind, str) and kind in _KINDS:
            return self._delta(event, _KINDS[kind])
        if kind == "response.output_item.added":
            self._added(event)
        elif kind == "response.output_item.done" and isinstance(event.get("item"), dict):
            self._done.append(event["item"])
        elif kind in _TERMINAL and isinstance(event.get("response"), dict):
            self._response = event["response"]
        elif kind == "error" or (kind is None and "error" in event):
            nested = event.get("error")
            raise failure(nested if isinstance(nested, dict) else event)
        return None

    def response(self) -> ModelResponse:
        """The whole answer. Raises ModelError `stream_cut` when the terminal event did not come."""
        if self._response is None:
            raise cut()
        if not self._response.get("output") and self._done:  # some servers end with an empty list
            return read_response({**self._response, "output": self._done})
        return read_response(self._response)

    def _added(self, event: dict[str, Json]) -> None:
        item = event.get("item")
        self._index = self._place(event, self._index + 1)
        if isinstance(item, dict) and isinstance(item.get("call_id"), str):
            self._call_ids[self._index] = item["call_id"]
            if isinstance(item.get("id"), str):
                self._call_ids[item["id"]] = item["call_id"]

    def _delta(self, event: dict[str, Json], kind: Literal["text", "arguments", "reasoning"]) -> Delta | None:
        text, item_id = event.get("delta"), event.get("item_id")
        if not isinstance(text, str) or not text:
            return None
        index = self._place(event, max(self._index, 0))
        item_id = item_id if isinstance(item_id, str) else None
        call_id = None
        if kind == "arguments":
            call_id = self._call_ids.get(item_id or index) or self._call_ids.get(index)
        self.has_started = True
        return Delta(kind, text, item_id, call_id, index)

    def _place(self, event: dict[str, Json], default: int) -> int:
        # llama-server's events have no index: the newest item is meant.
        index = event.get("output_index")
        return index if isinstance(index, int) else default


def read_response(response: Json) -> ModelResponse:
    """A response object as an answer. Raises ModelError when it failed, is incomplete or is no answer."""
    if not isinstance(response, dict):
        raise broken("it is no JSON object")
    status = response.get("status")
    if status == "failed" or (status is None and response.get("error")):
        error = response.get("error")
        raise failure(error if isinstance(error, dict) else {})
    if status == "incomplete":
        raise _incomplete(response)
    if status not in (None, "completed"):
        raise ModelError(
            "model_incomplete", f"the response is {_word(status)}; remove `background` from extra"
        )
    output = response.get("output")
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        raise broken("it has no list of output items")
    id = response.get("id")
    return ModelResponse(
        id if isinstance(id, str) else None, [clean(item) for item in output], usage(response)
    )


def usage(response: Mapping[str, Json]) -> Usage:
    """The tokens of a response; what a server does not count is 0."""
    given = _mapping(response.get("usage"))
    return Usage(
        requests=1,
        input_tokens=_count(given.get("input_tokens")),
        cached_tokens=_count(_mapping(given.get("input_tokens_details")).get("cached_tokens")),
        output_tokens=_count(given.get("output_tokens")),
        reasoning_tokens=_count(_mapping(given.get("output_tokens_details")).get("reasoning_tokens")),
    )


def failure(error: Mapping[str, Json]) -> ModelError:
    """The error object of a failed response or of an `error` event."""
    code = error.get("code") or error.get("type")
    word = _word(code) if code not in (None, "error") else "no code"
    if word == "rate_limit_exceeded":
        return ModelError("model_rate_limited", "the model server is over its rate limit", retryable=True)
    passing = word in _PASSING or word == "no code" or (word.isdigit() and int(word) >= 500)
    return ModelError("model_failed", f"the model server failed the call: {word}", retryable=passing)


def cut() -> ModelError:
    """The stream ended without its terminal event."""
    return ModelError("stream_cut", "the answer's stream ended before the answer did", retryable=True)


def broken(what: str) -> ModelError:
    """The answer cannot be read."""
    return ModelError("model_broken_answer", f"the model's answer cannot be read: {what}", retryable=True)


def _incomplete(response: Mapping[str, Json]) -> ModelError:
    reason = _word(_mapping(response.get("incomplete_details")).get("reason"))
    remedy = {
        "max_output_tokens": "raise max_output_tokens in the agent's model_settings",
        "content_filter": "the server's content filter stopped it",
    }.get(reason, "see the model server's documentation")
    return ModelError("model_incomplete", f"the answer is incomplete ({reason}): {remedy}")


def _word(value: Json) -> str:
    # A server's code, never a server's prose: that may quote the input.
    text = str(value)
    return text if len(text) <= 64 and text.replace("_", "").replace("-", "").isalnum() else "unknown"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _count(value: Json) -> int:
    return value if type(value) is int and value > 0 else 0
