"""Traces: one for each run, from its enqueue to its end, in whatever processes and on whatever days.

Through OpenTelemetry's API, which costs next to nothing while nobody collects. Messages carry no truth, so
the trace rides in the run's row, as the W3C header `traceparent`. No span holds what a run is about.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.metrics import count_decision, count_enqueued
from turnkeeper_storage.model import Approval, NewRun, Run

TRACER = "turnkeeper"
HEADER = "traceparent"
# attributes; those of GenAI are OpenTelemetry's semantic conventions
RUN_ID, RUN_STATUS, TENANT, TURN = (
    "turnkeeper.run.id",
    "turnkeeper.run.status",
    "turnkeeper.tenant",
    "turnkeeper.turn",
)
APPROVAL_ID, APPROVAL_STATUS = "turnkeeper.approval.id", "turnkeeper.approval.status"
AGENT, CONVERSATION = "gen_ai.agent.name", "gen_ai.conversation.id"
TOOL, CALL_ID = "gen_ai.tool.name", "gen_ai.tool.call.id"
ERROR = "error.type"
_W3C = TraceContextTextMapPropagator()


def is_collected() -> bool:
    """Whether this process has an SDK that spans go to."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def tracer() -> Tracer:
    """The tracer that all spans of ours come from."""
    return _tracer(trace.get_tracer_provider())


@lru_cache(maxsize=4)
def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(TRACER)


def current_trace_parent() -> str | None:
    """The span that is current here as a `traceparent`; None when there is none."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(HEADER)


def context_of(trace_parent: str | None) -> Context | None:
    """The context that a `traceparent` names; None for none, and for a text that is none."""
    if not trace_parent:
        return None
    context = _W3C.extract({HEADER: trace_parent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def trace_id_of(trace_parent: str | None) -> str | None:
    """The trace of the current span, else that of a `traceparent`, as 32 hexadecimal digits."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        context = trace.get_current_span(context_of(trace_parent) or Context()).get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def failed(span: Span, code: str) -> None:
    """Mark a span as one of something that went wrong. `code` is one of few words, never a message."""
    span.set_status(Status(StatusCode.ERROR, code))
    span.set_attribute(ERROR, code)


def code_of(error: BaseException) -> str:
    """The code that an error of ours has, else the name of its class: others' codes may be anything."""
    code = getattr(error, "code", None) if isinstance(error, TurnkeeperError) else None
    return code if isinstance(code, str) else type(error).__name__


@contextlib.contextmanager
def spanned(name: str, attributes: Mapping[str, str | int], *, kind: SpanKind) -> Iterator[Span]:
    """A span of the block, current in it. Of an exception it keeps the code only."""
    if not is_collected():
        yield trace.INVALID_SPAN
        return
    with tracer().start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            failed(span, code_of(error))
            raise


@contextlib.contextmanager
def enqueueing(new: NewRun) -> Iterator[Span]:
    """The span with which the trace of a run begins, or goes on from what its caller does."""
    attributes = {AGENT: new.agent, CONVERSATION: new.session_id, TENANT: new.tenant, RUN_ID: new.id}
    with spanned(f"enqueue {new.agent}", attributes, kind=SpanKind.PRODUCER) as span:
        yield span


def accepted(span: Span, run: Run, *, created: bool) -> None:
    """Note which run an enqueue made, or found, and count those that it made."""
    if created:
        count_enqueued(run.agent)
    if span.is_recording():
        span.set_attributes({RUN_ID: run.id, "turnkeeper.run.seq": run.seq})


def decided(approval: Approval, run: Run, since: int, *, lost_to: str | None = None) -> None:
    """The span of a decision, which began at `since` (`now()`) and is committed by now.

    It is one of the run's trace, with a link to what is done here at present; `lost_to`: the state of the
    approval that it came too late for.
    """
    if lost_to is None:
        count_decision(approval.tool, approval.status.value)
    if not is_collected():
        return
    here = trace.get_current_span()
    context = context_of(run.trace_parent)
    links = [Link(here.get_span_context())] if context and here.get_span_context().is_valid else []
    attributes: dict[str, str | int] = {
        RUN_ID: run.id,
        CONVERSATION: run.session_id,
        AGENT: run.agent,
        TENANT: run.tenant,
        TOOL: approval.tool,
        CALL_ID: approval.call_id,
        APPROVAL_ID: approval.id,
        APPROVAL_STATUS: approval.status.value,
    }
    span = tracer().start_span(
        f"decide {approval.tool}", context, attributes=attributes, links=links, start_time=since
    )
    if context is not None and here.is_recording():
        here.add_link(span.get_span_context())
    if lost_to is not None:
        failed(span, f"approval_{lost_to}")
    span.end()


def now() -> int:
    """The time in which spans begin and end."""
    return time.time_ns()


def inject(headers: MutableMapping[str, str]) -> None:
    """Tell whoever gets these headers of the span that is current here."""
    _W3C.inject(headers)


@contextlib.contextmanager
def coming_from(trace_parent: str | None) -> Iterator[None]:
    """What is done in the block belongs to the caller's span, unless there is one here already."""
    context = None
    if trace_parent and not trace.get_current_span().get_span_context().is_valid:
        context = context_of(trace_parent)
    if context is None:
        yield
        return
    token = attach(context)
    try:
        yield
    finally:
        detach(token)
