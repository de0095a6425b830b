"""What is counted: through OpenTelemetry's API, which costs nothing while nobody collects.

`INSTRUMENTS` names all of it. Labels are few words each: names of agents, tools and models, statuses, codes;
never an id, never a tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation, get_meter

METER = "turnkeeper"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing that is counted. `labels` are the attributes that it is told by."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    labels: tuple[str, ...]
    description: str


INSTRUMENTS = {
    "turnkeeper.runs.enqueued": Instrument("counter", "{run}", ("agent",), "runs that were accepted"),
    "turnkeeper.runs.ended": Instrument(
        "counter", "{run}", ("agent", "status", "code"), "runs that ended; code: why one failed"
    ),
    "turnkeeper.runs.parked": Instrument("counter", "{run}", ("agent",), "times that a run began to wait"),
    "turnkeeper.run.work": Instrument(
        "histogram",
        "s",
        ("agent", "status"),
        "from a claim to the end of the run, to its park or its release",
    ),
    "turnkeeper.approvals.decided": Instrument(
        "counter", "{approval}", ("tool", "status"), "approvals that somebody decided, or that expired"
    ),
    "turnkeeper.turns.restarted": Instrument(
        "counter", "{turn}", ("agent",), "streamed turns that were asked again after they gave deltas"
    ),
    "turnkeeper.model.retries": Instrument(
        "counter", "{attempt}", ("model", "code"), "model calls that are tried again; code: what went wrong"
    ),
    "gen_ai.client.operation.duration": Instrument(
        "histogram",
        "s",
        ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "error.type"),
        "one attempt of a model call",
    ),
    "gen_ai.client.token.usage": Instrument(
        "histogram",
        "{token}",
        ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.token.type"),
        "tokens of one model call",
    ),
    "gen_ai.execute_tool.duration": Instrument(
        "histogram", "s", ("gen_ai.tool.name", "error.type"), "one tool call"
    ),
    "turnkeeper.worker.claims": Instrument(
        "counter", "{run}", ("source",), "runs that workers began: after a bell, by a sweep, after a finish"
    ),
    "turnkeeper.worker.takeovers": Instrument(
        "counter", "{session}", (), "sessions taken over from a worker that did not give them back"
    ),
    "turnkeeper.worker.lease_losses": Instrument(
        "counter", "{lease}", ("reason",), "leases that were lost while their session was in work"
    ),
    "turnkeeper.worker.heartbeat_failures": Instrument(
        "counter", "{beat}", (), "heartbeats that failed; leases run out when several do"
    ),
    "turnkeeper.worker.sweep_failures": Instrument("counter", "{sweep}", (), "sweeps that failed"),
    "turnkeeper.worker.deaths": Instrument(
        "counter", "{worker}", (), "other workers that were found dead by their locks"
    ),
    "turnkeeper.worker.loop_blocks": Instrument(
        "counter",
        "{block}",
        ("tool",),
        "times that a worker's event loop did not answer, by the tool that blocked it",
    ),
    "turnkeeper.worker.loop_lag": Instrument(
        "histogram", "s", (), "how long a worker's event loop took to answer"
    ),
    "turnkeeper.worker.slots": Instrument("gauge", "{session}", (), "sessions that the worker can work on"),
    "turnkeeper.worker.in_flight": Instrument("gauge", "{session}", (), "sessions that it works on now"),
    "turnkeeper.wakeups.failed": Instrument(
        "counter", "{message}", (), "wake-ups that could not be published; a sweep finds their sessions"
    ),
    "turnkeeper.session.unreadable_items": Instrument(
        "counter",
        "{item}",
        ("reason", "store"),
        "stored items that were left out of a history because they cannot be read",
    ),
    "turnkeeper.cluster.up": Instrument("gauge", "{database}", (), "whether the database answered in time"),
    "turnkeeper.cluster.runs": Instrument("gauge", "{run}", ("status",), "runs that have not ended"),
    "turnkeeper.cluster.oldest_run": Instrument(
        "gauge", "s", ("status",), "how long ago the oldest of them was accepted"
    ),
    "turnkeeper.cluster.waiting_sessions": Instrument(
        "gauge", "{session}", (), "sessions that have work and no worker"
    ),
    "turnkeeper.cluster.queue_age": Instrument(
        "gauge", "s", (), "how long the first of them has waited for a worker"
    ),
    "turnkeeper.cluster.open_approvals": Instrument(
        "gauge", "{approval}", (), "approvals that wait for a person"
    ),
    "turnkeeper.cluster.oldest_approval": Instrument(
        "gauge", "s", (), "how long the oldest of them has waited"
    ),
}
Label = dict[str, str]


@cache
def _counter(name: str) -> Counter:
    made = INSTRUMENTS[name]
    return get_meter(METER).create_counter(name, unit=made.unit, description=made.description)


@cache
def _histogram(name: str) -> Histogram:
    made = INSTRUMENTS[name]
    return get_meter(METER).create_histogram(
        name,
        unit=made.unit,
        description=made.description,
        explicit_bucket_boundaries_advisory=SECONDS if made.unit == "s" else TOKENS,
    )


def count(name: str, number: int = 1, **labels: str) -> None:
    """Count so many of a counter of INSTRUMENTS."""
    _counter(name).add(number, labels)


def begin_at_zero(*, is_worker: bool) -> None:
    """Show counters before they count anything, so that the first of something is seen as a rise."""
    for name, made in INSTRUMENTS.items():
        is_ours = is_worker or not name.startswith("turnkeeper.worker.")
        if made.kind == "counter" and not made.labels and is_ours:
            count(name, 0)
    if is_worker:
        for source in ("bell", "sweep", "finish"):
            count("turnkeeper.worker.claims", 0, source=source)
        for reason in ("taken", "unrenewed"):
            count("turnkeeper.worker.lease_losses", 0, reason=reason)


def begin_names_at_zero(agents: Iterable[str], tools: Iterable[str]) -> None:
    """The same for what a worker with these agents and tools counts by name, and an alert waits for."""
    for agent in agents:
        count("turnkeeper.runs.ended", 0, agent=agent, status="failed", code="poisoned")
    for tool in {"", *tools}:
        count("turnkeeper.worker.loop_blocks", 0, tool=tool)


def observe(name: str, value: float, labels: Label) -> None:
    """Record a value of a histogram of INSTRUMENTS."""
    _histogram(name).record(value, labels)


def gauge(name: str, ask: Callable[[], Iterable[Observation]]) -> None:
    """Let a gauge of INSTRUMENTS be asked for; once for each in a process. `ask` is called on any thread."""
    made = INSTRUMENTS[name]

    def asked(_: CallbackOptions) -> Iterable[Observation]:
        return ask()

    get_meter(METER).create_observable_gauge(
        name, callbacks=[asked], unit=made.unit, description=made.description
    )


def count_unreadable(reason: str, store: str, number: int = 1) -> None:
    """Items of a store that could not be read. `reason` is one of a few words, never an id."""
    count("turnkeeper.session.unreadable_items", number, reason=reason, store=store)


def count_loop_block(tool: str) -> None:
    """A worker's event loop did not answer in time. `tool` is a name, "" when it was no tool."""
    count("turnkeeper.worker.loop_blocks", tool=tool)


def count_enqueued(agent: str) -> None:
    """A run was accepted; one in a caller's own transaction when it is written there."""
    count("turnkeeper.runs.enqueued", agent=agent)


def count_ended(agent: str, status: str, code: str) -> None:
    """A run ended; `code` is why it failed, else empty."""
    count("turnkeeper.runs.ended", agent=agent, status=status, code=code)


def count_decision(tool: str, status: str) -> None:
    """An approval was decided, or its time was over."""
    count("turnkeeper.approvals.decided", tool=tool, status=status)
