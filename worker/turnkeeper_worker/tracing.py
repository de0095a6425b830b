"""The spans of a run on this worker, what is measured beside them, and what log lines say of it.

A *stretch* is the work on one run from its claim to its end, its park or its release. Its span is
`invoke_agent`, with a span for each turn, under which are the model call and the tools: the names are those
of OpenTelemetry's conventions for generative AI. A run that was parked goes on with another stretch, in the
same trace. Spans hold no contents unless the setting `trace_content` says so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, set_span_in_context

from turnkeeper_storage import tracing
from turnkeeper_storage.log_context import RunPlace, working_on
from turnkeeper_storage.metrics import count, count_ended, observe
from turnkeeper_storage.model import Run, RunStatus, Usage
from turnkeeper_storage.tracing import AGENT, CONVERSATION, RUN_ID, RUN_STATUS, TENANT, TURN, failed
from turnkeeper_storage.verbs.finish import Ending
from turnkeeper_worker.steps import AskModel, Fail, RunTools, Step

# of a stretch that ended without an end or a park: the run goes on elsewhere
RELEASED = "released"
OPERATION, PROVIDER, MODEL = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"
# the API that is spoken; who serves it is not known here
OPENAI = "openai"


@dataclass(slots=True)
class Stretch:
    """The work on one run, as it is told: `status` and `code` are how it ended."""

    run: Run
    place: RunPlace
    content: bool = False
    span: Span = INVALID_SPAN
    status: str = RELEASED
    code: str = ""
    usage: Usage | None = None
    turn_span: Span | None = None

    @property
    def is_told(self) -> bool:
        """Whether somebody collects the spans of this run."""
        return self.span.is_recording()

    def ended(self, status: str, code: str = "", usage: Usage | None = None) -> None:
        """How the stretch ended; `code` is why a run failed."""
        self.status, self.code, self.usage = status, code, usage

    def in_turn(self, turn: int) -> None:
        """What comes now belongs to this turn."""
        if turn == self.place.turn and self.turn_span is not None:
            return
        self.place.turn = turn
        if self.is_told:
            self.turn_ended()
            self.turn_span = tracing.tracer().start_span(
                f"turn {turn}",
                set_span_in_context(self.span),
                attributes={RUN_ID: self.run.id, TURN: turn},
            )
            attach(set_span_in_context(self.turn_span))

    def turn_ended(self, code: str = "") -> None:
        """The turn in work is over, if there is one; `code` is what went wrong."""
        if self.turn_span is not None:
            if code:
                failed(self.turn_span, code)
            self.turn_span.end()
            self.turn_span = None
            attach(set_span_in_context(self.span))

    def close(self, since: float) -> None:
        """End the spans, and count. `since` is the time.perf_counter() of its begin."""
        labels = {"agent": self.run.agent, "status": self.status}
        observe("turnkeeper.run.work", time.perf_counter() - since, labels)
        self.turn_ended(self.code)
        if self.is_told:
            self.span.set_attribute(RUN_STATUS, self.status)
            if self.usage is not None:
                self.span.set_attributes(usage_attributes(self.usage))
            if self.code:
                failed(self.span, self.code)
            self.span.end()


_current: ContextVar[Stretch | None] = ContextVar("turnkeeper_stretch", default=None)


def current() -> Stretch | None:
    """The stretch that is worked on here."""
    return _current.get()


@contextlib.contextmanager
def stretch_of(run: Run, epoch: int, *, content: bool, claimed_at: float | None = None) -> Iterator[Stretch]:
    """The block is the work on a run under a lease of this epoch.

    `claimed_at` is the time.monotonic() at which its claim was asked for; None for a run that was claimed
    with the finish of the one before. Exceptions pass through; their codes are kept.
    """
    since, before = time.perf_counter(), None
    stretch = Stretch(run, _place_of(run), content)
    if tracing.is_collected():
        stretch.span = _begin(run, epoch, claimed_at)
        before = attach(set_span_in_context(stretch.span))
        stretch.place.trace_id = tracing.trace_id_of(run.trace_parent)
    token = _current.set(stretch)
    try:
        with working_on(stretch.place):
            yield stretch
    except BaseException as error:
        stretch.code = stretch.code or tracing.code_of(error)
        raise
    finally:
        _current.reset(token)
        stretch.close(since)
        if before is not None:
            detach(before)


def _place_of(run: Run) -> RunPlace:
    trace_id = tracing.trace_id_of(run.trace_parent)
    return RunPlace(run.tenant, run.session_id, run.id, run.turn, trace_id)


def _begin(run: Run, epoch: int, claimed_at: float | None) -> Span:
    now = tracing.now()
    start = now if claimed_at is None else now - int((time.monotonic() - claimed_at) * 1e9)
    attributes: dict[str, str | int] = {
        OPERATION: "invoke_agent",
        PROVIDER: OPENAI,
        AGENT: run.agent,
        CONVERSATION: run.session_id,
        RUN_ID: run.id,
        "turnkeeper.run.seq": run.seq,
        "turnkeeper.epoch": epoch,
        TENANT: run.tenant,
    }
    # never the context of here: the loop of the process is in nobody's trace
    parent = tracing.context_of(run.trace_parent) or Context()
    span = tracing.tracer().start_span(
        f"invoke_agent {run.agent}", parent, attributes=attributes, start_time=start
    )
    if claimed_at is not None and span.is_recording():
        tracing.tracer().start_span("claim", set_span_in_context(span), start_time=start).end(now)
    return span


def at(step: Step) -> None:
    """What the run does next: a turn begins, goes on or is over."""
    stretch = current()
    match step:
        case _ if stretch is None:
            pass
        case AskModel(turn, _):
            stretch.in_turn(turn)
        case RunTools(calls):
            stretch.in_turn(calls[0].turn)
        case Fail(code, _, _):
            stretch.turn_ended(code)
        case _:
            stretch.turn_ended()


def run_ended(run: Run, ending: Ending) -> None:
    """The end of a run is committed."""
    code = ending.error.code if ending.error else ""
    count_ended(run.agent, ending.status.value, code)
    stretch = current()
    if stretch is not None:
        stretch.ended(ending.status.value, code, ending.usage)


def run_parked(run: Run) -> None:
    """The run waits for a person now."""
    count("turnkeeper.runs.parked", agent=run.agent)
    stretch = current()
    if stretch is not None:
        stretch.ended(RunStatus.AWAITING_APPROVAL.value)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """The block is a part of the stretch with a span of its own: `park`, `finish`."""
    stretch = current()
    if stretch is None or not stretch.is_told:
        yield
        return
    with tracing.spanned(name, {RUN_ID: stretch.run.id}, kind=SpanKind.INTERNAL):
        yield


def turn_restarted() -> None:
    """A streamed turn is asked again after it gave deltas."""
    stretch = current()
    if stretch is not None:
        count("turnkeeper.turns.restarted", agent=stretch.run.agent)
        if stretch.turn_span is not None:
            stretch.turn_span.add_event("turn restarted")


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Tokens, by the names of the conventions; those that are none are left out."""
    told = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **{name: tokens for name, tokens in told.items() if tokens},
    }
