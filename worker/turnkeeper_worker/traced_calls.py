"""The spans of what a turn waits for, a model call and a tool call, and how long they take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from turnkeeper_storage import tracing
from turnkeeper_storage.metrics import count, observe
from turnkeeper_storage.model import ToolCall
from turnkeeper_storage.tracing import CALL_ID, CONVERSATION, ERROR, RUN_ID, TOOL, failed
from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelResponse
from turnkeeper_worker.traced_content import input_messages, instructions, output_messages, sendable
from turnkeeper_worker.tracing import MODEL, OPENAI, OPERATION, PROVIDER, current, usage_attributes

CHAT, TOOL_OPERATION = "chat", "execute_tool"
CANCELLED = "cancelled"


@dataclass(slots=True)
class Call:
    """One call under way; `code` is what went wrong with it."""

    span: Span = INVALID_SPAN
    shows_content: bool = False
    code: str = ""
    response: ModelResponse | None = None
    output: str | None = None


@contextlib.contextmanager
def asking(request: ModelRequest, attempt: int) -> Iterator[Call]:
    """The block is one attempt of a model call, counted from 1; `call.response` is to be set in it."""
    call, since = Call(), time.perf_counter()
    try:
        with _span(call, f"{CHAT} {request.model}", SpanKind.CLIENT, _of_request(request, attempt)):
            if call.shows_content:
                call.span.set_attributes(
                    {
                        "gen_ai.system_instructions": instructions(request.instructions),
                        "gen_ai.input.messages": input_messages(request.input),
                    }
                )
            yield call
            if call.response is not None and call.span.is_recording():
                _answered(call, call.response)
    finally:
        _measured(request, call, time.perf_counter() - since)


def retried(model: str, code: str) -> None:
    """A model call is tried again after it failed with this code."""
    count("turnkeeper.model.retries", model=model, code=code)


def _of_request(request: ModelRequest, attempt: int) -> dict[str, str | int]:
    told: dict[str, str | int] = {
        OPERATION: CHAT,
        PROVIDER: OPENAI,
        MODEL: request.model,
        "turnkeeper.attempt": attempt,
    }
    return told | {"gen_ai.output.type": "json"} if request.text_format else told


def _answered(call: Call, response: ModelResponse) -> None:
    call.span.set_attributes(usage_attributes(response.usage))
    if response.id is not None:
        call.span.set_attribute("gen_ai.response.id", response.id)
    if call.shows_content:
        call.span.set_attribute("gen_ai.output.messages", output_messages(response.items))


def _measured(request: ModelRequest, call: Call, seconds: float) -> None:
    labels = {OPERATION: CHAT, PROVIDER: OPENAI, MODEL: request.model}
    observe("gen_ai.client.operation.duration", seconds, labels | _error(call))
    if call.response is not None:
        usage = call.response.usage
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            observe("gen_ai.client.token.usage", tokens, {**labels, "gen_ai.token.type": kind})


_executing: ContextVar[Call | None] = ContextVar("turnkeeper_executing", default=None)


@contextlib.contextmanager
def executing(tool: str, called: ToolCall) -> Iterator[Call]:
    """The block is one call of a tool of ours; `call.output` may be set in it."""
    call, since = Call(), time.perf_counter()
    token = _executing.set(call)
    attributes: dict[str, str | int] = {
        OPERATION: TOOL_OPERATION,
        TOOL: tool,
        "gen_ai.tool.type": "function",
        CALL_ID: called.call_id,
    }
    try:
        with _span(call, f"{TOOL_OPERATION} {tool}", SpanKind.INTERNAL, attributes):
            if call.shows_content:
                call.span.set_attribute("gen_ai.tool.call.arguments", sendable(called.arguments))
            yield call
            if call.shows_content and call.output is not None:
                call.span.set_attribute("gen_ai.tool.call.result", sendable(call.output))
    finally:
        _executing.reset(token)
        observe("gen_ai.execute_tool.duration", time.perf_counter() - since, {TOOL: tool} | _error(call))


def _error(call: Call) -> dict[str, str]:
    return {ERROR: call.code} if call.code else {}


def tool_failed(code: str) -> None:
    """The tool call that is under way here went wrong."""
    call = _executing.get()
    if call is not None:
        call.code = code


@contextlib.contextmanager
def _span(call: Call, name: str, kind: SpanKind, attributes: dict[str, str | int]) -> Iterator[None]:
    """A span in the stretch of here, if that is told; `call.code` says whether it went wrong."""
    stretch = current()
    if stretch is None or not stretch.is_told:
        with _coded(call):
            yield
        return
    told = {CONVERSATION: stretch.run.session_id, RUN_ID: stretch.run.id, **attributes}
    with tracing.tracer().start_as_current_span(
        name, kind=kind, attributes=told, record_exception=False, set_status_on_exception=False
    ) as span:
        call.span, call.shows_content = span, stretch.content
        try:
            with _coded(call):
                yield
        finally:
            if call.code == CANCELLED:
                span.set_attribute(ERROR, CANCELLED)
            elif call.code:
                failed(span, call.code)


@contextlib.contextmanager
def _coded(call: Call) -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        call.code = CANCELLED
        raise
    except ModelError as error:
        call.code = error.code
        raise
    except BaseException as error:
        call.code = call.code or tracing.code_of(error)
        raise
