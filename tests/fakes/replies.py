"""What a scripted model may answer. The same reply works streamed and not: the request decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from turnkeeper.practice import wire
from turnkeeper_storage.items import Item, Json


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with these output items. `error` goes with `failed`, `reason` with `incomplete`."""

    items: Sequence[Item]
    status: wire.ResponseStatus = "completed"
    error: Mapping[str, str] | None = None
    reason: str | None = None

    def response(self, request: Mapping[str, Json]) -> dict[str, Json]:
        return wire.response(
            request, self.items, status=self.status, error=self.error, incomplete_reason=self.reason
        )


@dataclass(frozen=True, slots=True)
class HttpError:
    """An HTTP error. `body` None means OpenAI's usual body with `message`."""

    status: int
    message: str = "scripted error"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """No byte until `ScriptedModel.release()`, then the reply `then`."""

    then: Reply


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `after` events (None: half of them) of `answer`, then the end: clean, or a reset connection.

    What is not streamed is cut in the middle of its bytes, whatever `how` says.
    """

    answer: Answer
    after: int | None = None
    how: Literal["eof", "reset"] = "eof"


@dataclass(frozen=True, slots=True)
class BrokenJson:
    """Status 200 with text that is no JSON: as the body, or as the data of an event."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """A stream that ends with a flat `error` event; not streamed, the same as HTTP 500."""

    code: str = "server_error"
    message: str = "scripted error event"


@dataclass(frozen=True, slots=True)
class Endless:
    """An answer that goes on until nobody reads it any more: words when streamed, blanks when not."""


Reply: TypeAlias = Answer | HttpError | Hang | Cut | BrokenJson | ErrorEvent | Endless
Call: TypeAlias = tuple[str, str | Mapping[str, Json]] | tuple[str, str | Mapping[str, Json], str]


def text(content: str, *, reasoning: str | None = None) -> Answer:
    """An assistant message; with `reasoning` a reasoning item of that summary before it."""
    return Answer([*_thoughts(reasoning), wire.message(content)])


def calls(*asked: Call, message: str | None = None, reasoning: str | None = None) -> Answer:
    """Function calls in one turn: `(name, arguments)` or `(name, arguments, call_id)`.

    Arguments as an object, or as text to send it exactly so. `message` puts a text before the calls.
    """
    said = [wire.message(message)] if message is not None else []
    return Answer([*_thoughts(reasoning), *said, *(wire.function_call(*one) for one in asked)])


def items(*output: Item) -> Answer:
    """Any output items, e.g. of `wire.reasoning`, `wire.message`, `wire.function_call`."""
    return Answer(output)


def error(
    status: int,
    *,
    retry_after_ms: int | None = None,
    headers: Mapping[str, str] | None = None,
    message: str = "scripted error",
    code: str | None = None,
    body: str | None = None,
) -> HttpError:
    """An HTTP error; `retry_after_ms` as the header that OpenAI sends."""
    hint = {} if retry_after_ms is None else {"retry-after-ms": str(retry_after_ms)}
    return HttpError(status, message, code, {**hint, **(headers or {})}, body)


def hang(then: Reply | None = None) -> Hang:
    """Nothing until the model is released."""
    return Hang(then or text("released"))


def cut(
    answer: Answer | None = None, *, after: int | None = None, how: Literal["eof", "reset"] = "eof"
) -> Cut:
    """A stream with no terminal event."""
    return Cut(answer or text("this answer is cut off before its end"), after, how)


def broken_json() -> BrokenJson:
    """A body, or an event, that cannot be parsed."""
    return BrokenJson()


def failed(code: str = "server_error", message: str = "scripted failure") -> Answer:
    """A response that ends as `failed`."""
    return Answer([], status="failed", error={"code": code, "message": message})


def incomplete(reason: str = "max_output_tokens", content: str = "half an ans") -> Answer:
    """A response that ends as `incomplete`."""
    return Answer([wire.message(content)], status="incomplete", reason=reason)


def error_event(code: str = "server_error", message: str = "scripted error event") -> ErrorEvent:
    """A flat `error` event in place of an end."""
    return ErrorEvent(code, message)


def endless() -> Endless:
    """An answer without an end."""
    return Endless()


def _thoughts(reasoning: str | None) -> list[Item]:
    return [] if reasoning is None else [wire.reasoning(reasoning)]
